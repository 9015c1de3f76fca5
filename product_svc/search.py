"""How products are searched: which words a product has, and how well it fits a search.

A migration creates `FUNCTIONS`, after those of `platform_core.db`. The vector of a product is a generated column, so
after a change of a function a migration must compute it again.
"""

from typing import Any

from django.contrib.postgres.search import SearchVectorField
from django.db.models import F, Func, IntegerField, QuerySet, TextField, Value

from platform_core.db import Matches, Wanted

MOST_RANKED = 1000
"""The newest so many matches are ordered by relevance, so a search for a frequent word costs no more than another."""

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


def by_relevance(found: QuerySet[Any], text: str) -> QuerySet[Any]:
    """The newest `MOST_RANKED` of ``found``, with their ``relevance`` for ``text``.

    First come an exact sku, beginnings of a sku, the exact name, and names with all words; then `ts_rank` decides.
    """
    newest = found.order_by("-pk").values("pk")[:MOST_RANKED]
    code = Func(Value(text), function="product_code", output_field=TextField())
    fits = (code, Wanted(text), Wanted(text, whole=True), F("name"), F("sku"), F("text"))
    relevance = Func(*fits, function="product_relevance", output_field=IntegerField())
    return found.model.objects.filter(pk__in=newest).annotate(relevance=relevance)
