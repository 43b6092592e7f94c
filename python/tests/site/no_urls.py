"""A site that has forgotten the endpoint."""

urlpatterns = []
