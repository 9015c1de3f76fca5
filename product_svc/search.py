"""How products are searched: which words a product has, and how well it fits a search.

A migration creates `FUNCTIONS`, after those of `platform_core.db`. The vector of a product is a generated column, so
after a change of a function a migration must compute it again.
"""

from typing import Any

from django.contrib.postgres.search import SearchVectorField
from django.db.models import F, Func, IntegerField, QuerySet, Subquery, TextField, Value

from platform_core.db import Matches, Wanted

MOST_RANKED = 1000
"""The newest so many matches are ordered by relevance, so a search for a frequent word costs no more than another."""
WALKED = 50_000
"""The newest so many products are read in their order before the index on words is used."""

FUNCTIONS = """
CREATE FUNCTION product_name_vector(folded text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN to_tsvector('pg_catalog.simple', folded) || to_tsvector('pg_catalog.english', folded);
END $$;

CREATE FUNCTION product_code(given text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN replace(search_fold(given), ' ', '');

CREATE FUNCTION product_vector(name text, sku text, category text, description text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN setweight(product_name_vector(search_fold(search_spellings(name))), 'A')
    || CASE WHEN sku IS NULL THEN '' ELSE
        setweight(to_tsvector('simple', search_fold(sku) || ' ' || product_code(sku)), 'B') END
    || CASE WHEN category = '' THEN '' ELSE setweight(product_name_vector(search_fold(category)), 'C') END
    || CASE WHEN description = '' THEN '' ELSE search_stems(search_fold(description)) END;

CREATE FUNCTION product_relevance(code text, wanted tsquery, whole tsquery, name text, sku text, vector tsvector)
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1000000 * (
        CASE WHEN product_code(sku) = code THEN 16 WHEN starts_with(product_code(sku), code) THEN 8 ELSE 0 END
        + CASE WHEN product_code(name) = code THEN 4 ELSE 0 END
        + CASE WHEN ts_filter(vector, '{a}') @@ whole THEN 2 ELSE 0 END
        + CASE WHEN ts_filter(vector, '{a}') @@ wanted THEN 1 ELSE 0 END
    ) + (1000000 * ts_rank(vector, wanted, 32))::integer;
"""

DROP_FUNCTIONS = """
DROP FUNCTION product_relevance;
DROP FUNCTION product_vector;
DROP FUNCTION product_code;
DROP FUNCTION product_name_vector;
"""


class ProductVector(Func):
    """All words of a product, weighted: name A, sku B, category C.

    Words of the description are stems with a `=` before them, and so are not found by their beginnings.
    """

    function = "product_vector"
    arity = 4
    output_field = SearchVectorField()


def search_products(products: QuerySet[Any], text: str) -> QuerySet[Any]:
    """Filters products: all words of ``text`` are in name, sku, category or description. See `Wanted`."""
    return products.filter(Matches(F("text"), Wanted(text)))


def by_relevance(products: QuerySet[Any], text: str) -> QuerySet[Any]:
    """The newest `MOST_RANKED` of ``products`` with all words of ``text``, and their ``relevance``.

    First come an exact sku, beginnings of a sku, the exact name, and names with all words; then `ts_rank` decides.
    """
    code = Func(Value(text), function="product_code", output_field=TextField())
    fits = (code, Wanted(text), Wanted(text, whole=True), F("name"), F("sku"), F("text"))
    relevance = Func(*fits, function="product_relevance", output_field=IntegerField())
    ranked: QuerySet[Any] = products.model.objects.filter(pk__in=_newest(products, text)).annotate(relevance=relevance)
    return ranked


def _newest(products: QuerySet[Any], text: str) -> "_WalkedOrLookedUp":
    """The ids of the newest `MOST_RANKED` matches.

    A walk through the newest products finds them if the words are frequent. If it ends before, the words are rare or
    seldom together, and the index on words finds all matches. Left to itself, Postgres walks through the whole table
    when frequent words are never together.
    """
    last = Subquery(products.model.objects.order_by("-pk").values("pk")[:1])
    walked = search_products(products.filter(pk__gt=last - WALKED), text).order_by("-pk")
    looked_up = products.filter(Matches(F("text"), _Unestimated(Wanted(text)))).order_by((F("pk") + 0).desc())
    return _WalkedOrLookedUp(
        *(Subquery(each.values("pk")[:MOST_RANKED]) for each in (walked, looked_up)), most=MOST_RANKED
    )


class _WalkedOrLookedUp(Func):
    """The ids of the first query if it yields ``most``, else those of the second, which then is not executed."""

    template = (
        "(WITH walked (id) AS MATERIALIZED %(expressions)s "
        "SELECT id FROM walked WHERE (SELECT count(*) FROM walked) = %(most)s "
        "UNION ALL SELECT id FROM looked_up WHERE (SELECT count(*) FROM walked) < %(most)s)"
    )
    arg_joiner = ", looked_up (id) AS "
    arity = 2


class _Unestimated(Func):
    """A value that Postgres does not know when it plans: it then expects few matches, and uses the index on words.

    The order by an expression keeps it from the index on ids.
    """

    template = "(SELECT %(expressions)s)"
    arity = 1
