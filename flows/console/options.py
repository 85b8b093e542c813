"""Options that several commands take, and the numbers that the command line itself refuses."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

Changes = Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)]
Count = Annotated[int, Parameter(validator=Number(gte=1))]
Days = Annotated[float, Parameter(validator=Number(gte=0))]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Port = Annotated[int, Parameter(validator=Number(gte=1, lte=65_535))]
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
