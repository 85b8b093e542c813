"""`decant serve`: what is refused before a server is started for it."""


def test_a_schedule_that_prefect_does_not_read_starts_no_server(decant):
    """Half a minute of a server's start on a busy machine before a person hears of their typo."""
    done = decant("serve", "quickstart", "--cron", "61 * * * *", check=2)
    assert done.stderr.startswith("error:  --cron '61 * * * *' is no schedule")
    assert not decant.home.exists()
