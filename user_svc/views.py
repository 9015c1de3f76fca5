"""The API of user-service."""

from rest_framework.request import Request
from rest_framework.response import Response

from platform_core.api.idempotency import idempotent
from platform_core.api.views import ResourceViewSet
from user_svc import services
from user_svc.models import User
from user_svc.serializers import UserQuery, UserSerializer


class UserViewSet(ResourceViewSet):
    """Customers of the shop."""

    queryset = User.objects.all()
    serializer_class = UserSerializer
    query_class = UserQuery

    def list(self, request: Request) -> Response:
        """Users, newest first."""
        query = self.query(request)
        users = services.find_users(email=query.get("email"), search=query.get("search"))
        return self.page(request, users, query)

    def retrieve(self, request: Request, pk: int) -> Response:
        """One user."""
        return self.one(request, User.objects.filter(pk=pk))

    @idempotent
    def create(self, request: Request) -> Response:
        """Add a user. 409 `email_taken` when another one has the address."""
        return self.answer(services.create_user(**self.body(request)), status=201)

    def update(self, request: Request, pk: int) -> Response:
        """Replace a user's profile; what is left out becomes empty, but for the password, which stays."""
        return self.answer(services.update_user(pk, self.expected(request), **self.body(request)))

    def partial_update(self, request: Request, pk: int) -> Response:
        """Change parts of a user's profile."""
        return self.answer(services.update_user(pk, self.expected(request), **self.body(request, partial=True)))

    def destroy(self, request: Request, pk: int) -> Response:
        """Delete a user; the email is free again."""
        services.delete_user(pk, self.expected(request))
        return Response(status=204)
