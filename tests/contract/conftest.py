import pytest

pytest.register_assert_rewrite("trellis_celery.testing.contract")
