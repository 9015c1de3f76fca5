from .finding import Sought as Sought
from .finding import admin_page as admin_page
from .finding import admin_viewers as admin_viewers
from .finding import finds as finds
from .finding import route_viewers as route_viewers
