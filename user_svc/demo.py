"""Demo customers. They cannot sign in, and their addresses use reserved domains (RFC 2606)."""

from collections.abc import Iterator, Sequence

from platform_core.db import PastEvent, new_ids, writing
from platform_core.tools import DEMO, Batch, Calendar, Spec, batches_of, draw, raw
from platform_core.vocabulary import EventType
from user_svc.emails import email_key
from user_svc.models import User
from user_svc.services import snapshot


def _words(text: str, by: str | None = None) -> list[str]:
    return text.split(by)


_FIRST = _words(
    "Ada Aisha Alan Amara Ana Anton Bella Boris Carla Carlos Chen Chloe Clara Daniel David Diego Elena Elif Emil "
    "Emma Farid Felix Fiona Grace Hana Hannah Hugo Ida Ines Ivan Jana Jonas Julia Kaito Karim Kofi Lara Leila Leo "
    "Lina Louis Lucia Maja Marco Maria Mateo Maya Mia Milan Mira Nadia Nils Noah Nora Olga Oscar Paul Priya Rosa "
    "Ruth Samir Sara Sofia Tariq Theo Tomas Uma Vera Victor Wei Yara Yusuf Zoe"
)
_LAST = _words(
    "Abadi Adler Ahmed Almeida Andersson Baker Bauer Becker Bianchi Brandt Carter Castro Chen Costa Davies Diaz "
    "Dubois Duran Eriksen Evans Ferrari Fischer Fontaine Garcia Grant Haddad Hansen Hughes Ito Ivanov Jansen "
    "Jensen Johansson Kaya Keller Khan Kim Klein Kovac Kowalski Kumar Laurent Lindberg Lopez Marino Martin Meyer "
    "Molina Moreau Mori Nakamura Nielsen Novak Okafor Oliveira Osei Park Patel Petrov Ramos Rossi Sato Schmidt "
    "Silva Singh Suzuki Tanaka Varga Vogel Walker Weber Wilson Wood Yilmaz Zhang"
)
_STREETS = _words("Elm Street,Station Road,Mill Lane,High Street,Park Avenue,Harbour Way,Church Lane,Garden Row", ",")
_TOWNS = _words("Ashford,Brookfield,Eastport,Fairview,Greenhill,Lakewood,Northfield,Riverton", ",")


def users(spec: Spec, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Creates the missing users and yields all of them, oldest first.

    The rows of a batch are ``{"id", "name", "email", "address"}``, with the values of their sign-up.
    """
    calendar = Calendar(spec)
    for numbers in batches_of(spec.users):
        wanted = [_user(spec, calendar, number) for number in numbers]
        written = _make([user for user in wanted if user.pk is None]) if _find_existing_ids(wanted) else {}
        rows = [raw({"id": u.pk, "name": u.name, "email": u.email, "address": u.address}) for u in wanted]
        yield Batch("users", len(wanted), rows, written)


def _user(spec: Spec, calendar: Calendar, number: int) -> User:
    """Plans a user without an id. `_find_existing_ids` sets the id if an earlier run has created the user."""
    chance = draw(spec, "user", number)
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    domain = chance.choice(("example.com", "example.org"))
    joined = calendar.moment((number + chance.random() * 0.5) / max(spec.users, 1))
    email = f"{first}.{last}.{spec.seed}-{number}@{domain}".lower()
    return User(
        name=f"{first} {last}",
        email=email,
        email_key=email_key(email),
        phone=f"+1 555 01{chance.randrange(100):02}",
        address=f"{chance.randint(1, 199)} {chance.choice(_STREETS)}, {chance.choice(_TOWNS)}",
        created_at=joined,
        updated_at=joined,
    )


def _find_existing_ids(wanted: Sequence[User]) -> bool:
    """Sets the ids of users that exist already, found by email. Returns whether any user is missing."""
    keys = [user.email_key for user in wanted]
    known = dict(User.objects.filter(email_key__in=keys).values_list("email_key", "pk"))
    for user in wanted:
        user.pk = known.get(user.email_key)
    return len(known) < len(wanted)


def _make(missing: Sequence[User]) -> dict[str, int]:
    for user, pk in zip(missing, new_ids(User, len(missing)), strict=True):
        user.pk = pk
    with writing() as writer:
        writer.copy(missing)
        writer.append(DEMO, (PastEvent(u.created_at, EventType.USER_CREATED, u.pk, snapshot(u)) for u in missing))
    return writer.written


STEPS = {"users": users}
