"""A fixture for the tests of a site: what Djaffar has recorded."""

from typing import Any

import pytest


@pytest.fixture
def djaffar_activities(db: Any) -> Any:
    """The activities that the test has caused: ``Activity.objects``."""
    from djaffar.models import Activity

    return Activity.objects
