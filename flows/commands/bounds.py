"""Numbers that options take: refused by the command line itself where they mean nothing."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

Count = Annotated[int, Parameter(validator=Number(gte=1))]
Days = Annotated[float, Parameter(validator=Number(gte=0))]
Port = Annotated[int, Parameter(validator=Number(gte=1, lte=65_535))]
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
