import pytest

from skcnf.cli._benchmark import environment


@pytest.fixture(scope="session", autouse=True)
def _versions():
    """What stands above the figures that the long campaign prints."""
    print(f"\n{environment()}")
