"""A clock, a sink and a requeuer for tests, and the promises of `ports.ProcessStore` as a suite.

Whoever writes a store, or a pair of repositories, subclasses `StoreContract` in a test module and gives it a store::

    class TestOurStore(StoreContract):
        @pytest.fixture
        def store(self):
            return OurStore()
"""
