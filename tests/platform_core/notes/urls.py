from platform_core import urls
from platform_core.api.routers import Router
from platform_core.urls import handler400, handler403, handler404, handler500
from tests.platform_core.notes.views import NoteViewSet

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

router = Router()
router.register("api/notes", NoteViewSet, basename="note")
urlpatterns = [*urls.urlpatterns, *router.urls]
