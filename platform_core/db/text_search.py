"""Text search that ignores case, accents and Unicode form: SQL functions, and the expressions that call them.

A migration runs `SEARCH_FUNCTIONS` in the schema of a service. Columns and queries call the same `search_fold`, so they
cannot disagree. Generated columns store what these functions return: after a change of a function, a migration must
replace it and compute the columns again.

- ``search_fold(text)``: its words, with spaces between them. Without case, accents and invisible characters; letters
  that Unicode does not decompose become their usual ASCII spelling; `+` and `#` at the end of a word are part of it;
  pictures are words; a text of a script without spaces becomes its first letter, its bigrams and its last letter.
- ``search_spellings(text)``: the text, and further spellings of its words, such as `wifi` for `Wi-Fi`, `c` for `c++`.
- ``search_stems(folded)``: English stems as a vector, each with a ``=`` before it. No prefix of a word finds them.
- ``search_query(text, is_whole)``: what a search wants, see `Wanted`. ``search_terms`` is a part of it.
- ``search_beginnings(folded)``: see `Beginnings`.
"""

from unicodedata import normalize

from django.contrib.postgres.search import SearchQueryField, SearchVectorField
from django.db.models import BooleanField, CharField, Func, TextField, Transform, Value

_MARKS = (
    r"\u00AD\u0300-\u036F\u0483-\u0489\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7\u0610-\u061A\u061C\u0640"
    r"\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E8\u06EA-\u06ED\u180B-\u180F\u1AB0-\u1AFF\u1DC0-\u1DFF\u200B-\u200F"
    r"\u202A-\u202E\u2060-\u206F\u20D0-\u20FF\uFE00-\uFE0F\uFE20-\uFE2F\uFEFF"
    r"\U0001F3FB-\U0001F3FF\U000E0000-\U000E0FFF"
)
"""Accents and vowel points; characters without a shape of their own; the skin tones and variants of emoji."""
_UNSPACED = (
    r"\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u2E80-\u2FDF\u3005-\u3007\u3040-\u312F\u3131-\u318F\u31A0-\u31BF"
    r"\u31F0-\u31FF\u3400-\u4DBF\u4E00-\u9FFF\uAC00-\uD7AF\uF900-\uFAFF\U0001B000-\U0001B16F\U00020000-\U0003FFFF"
)
"""Scripts that do not put a space between words: Thai, Lao, Burmese, Khmer, kana, Han; and Hangul, which compounds."""
_SYMBOLS = r"\u203C\u2049\u2190-\u21FF\u2300-\u23FF\u25A0-\u27BF\u2900-\u297F\u2B00-\u2BFF\U0001F000-\U0001FAFF"
"""Emoji and other pictures."""
_LETTERS = ("øØłŁđĐðÐıħĦŧŦŋŊςƒ♯", "oollddddihhttnnσf#")
"""Letters that Unicode does not decompose, and what they become."""
_PAIRS = (("ß", "ss"), ("ẞ", "ss"), ("æ", "ae"), ("Æ", "ae"), ("œ", "oe"), ("Œ", "oe"), ("þ", "th"), ("Þ", "th"))
_PUNCTUATION = (
    r"[\u0001-\u001F\u0021-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00A9\u00AB-\u00B4\u00B6-\u00B9\u00BB-\u00BF×÷"
    r"\u2000-\u206F\u3000-\u3004\u3008-\u3020\u3030]+"
)
_WORDLIKE = r"a-z0-9\u0080-\U0010FFFF"
_JOINERS = r"[-''’&_\u2010\u2011]|\.(?=[A-Za-z])"
"""Within a word, these may be left out: `Wi-Fi` is also `WiFi`, `Men's` also `mens`, `Node.js` also `nodejs`."""


def _with_pairs(text: str) -> str:
    for letter, pair in _PAIRS:
        text = f"replace({text}, '{letter}', '{pair}')"
    return text


# Generated columns are computed with any search_path; that of pg_restore is empty. Bodies in PL/pgSQL are looked up
# when they run, so they call functions of pg_catalog only. A body of RETURN is bound when it is created, and may call
# ours. PL/pgSQL is used because its calls cost a fifth of those of SQL functions that cannot be inlined.
SEARCH_FUNCTIONS = f"""
CREATE FUNCTION search_fold(given text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    folded text;
BEGIN
    IF octet_length(given) = char_length(given) THEN  -- ASCII
        folded := lower(given);
    ELSE
        folded := normalize(translate(given, '™℠®©', '    '), NFKD);
        folded := lower(normalize(regexp_replace(folded, '[{_MARKS}]+', '', 'g'), NFC));
        folded := translate({_with_pairs("folded")}, '{_LETTERS[0]}', '{_LETTERS[1]}');
        IF folded ~ '[{_SYMBOLS}]' THEN
            SELECT string_agg(
                CASE WHEN letter ~ '[{_SYMBOLS}]' THEN ' ʬ' || to_hex(ascii(letter)) || ' ' ELSE letter END,
                '' ORDER BY n
            ) INTO folded FROM regexp_split_to_table(folded, '') WITH ORDINALITY AS letters (letter, n);
        END IF;
        IF folded ~ '[{_UNSPACED}]' THEN
            folded := regexp_replace(folded, '([{_UNSPACED}]+)', ' \\1 ', 'g');
            folded := regexp_replace(folded, '([{_UNSPACED}])', '\\1 \\1', 'g');
        END IF;
    END IF;
    IF folded ~ '[+#]' THEN
        folded := regexp_replace(folded, '([+#]+)(?=[{_WORDLIKE}])', '\\1 ', 'g');
        folded := regexp_replace(folded, '(?<![{_WORDLIKE}+#])[+#]+', ' ', 'g');
        folded := replace(replace(folded, '+', 'plus'), '#', 'sharp');
    END IF;
    RETURN regexp_replace(folded, '{_PUNCTUATION}', ' ', 'g');
END $$;

CREATE FUNCTION search_spellings(given text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF given !~ '{_JOINERS}|[+#]' THEN RETURN given; END IF;
    RETURN given || ' ' || translate(regexp_replace(
        regexp_replace(given, '(^|\\s)[^-\\s''’&_+#.\u2010\u2011]+(?=\\s|$)', ' ', 'g'), '{_JOINERS}', '', 'g'
    ), '+#', '  ');
END $$;

CREATE FUNCTION search_stems(folded text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    stems text[] := tsvector_to_array(to_tsvector('pg_catalog.english', folded));
BEGIN
    IF stems = '{{}}' THEN RETURN ''; END IF;
    RETURN array_to_tsvector(string_to_array('=' || array_to_string(stems, ' ='), ' '));
END $$;

CREATE FUNCTION search_terms(folded text, is_whole boolean) RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN (
        WITH word AS (
            SELECT lexeme, ts_lexize('pg_catalog.english_stem', lexeme) AS stem,
                CASE WHEN lexeme ~ '^[{_UNSPACED}]$' OR (place = max(place) OVER () AND NOT is_whole)
                    THEN ':*' ELSE '' END AS rest
            FROM (
                SELECT lexeme, positions[array_upper(positions, 1)] AS place
                FROM unnest(to_tsvector('pg_catalog.simple', folded))
            ) AS words
        ), term AS (
            SELECT stem = '{{}}' AS is_common, quote_literal(lexeme) || rest
                || CASE WHEN stem = '{{}}' THEN '' ELSE ' | ' || quote_literal('=' || lexeme) END
                || CASE WHEN stem IN ('{{}}', ARRAY[lexeme]) THEN ''
                    ELSE ' | ' || quote_literal(stem[1]) || ' | ' || quote_literal('=' || stem[1]) END AS term
            FROM word
        )
        SELECT coalesce(
            string_agg('(' || term || ')', ' & ') FILTER (WHERE NOT is_common OR is_whole OR only_common), ''
        )::tsquery
        FROM term, (SELECT bool_and(is_common) AS only_common FROM term) AS words
    );
END $$;

CREATE FUNCTION search_beginnings(folded text) RETURNS tsquery LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN (
        SELECT coalesce(string_agg(quote_literal(lexeme) || ':*', ' & '), '')::tsquery
        FROM unnest(to_tsvector('pg_catalog.simple', folded))
    );
END $$;

CREATE FUNCTION search_query(given text, is_whole boolean) RETURNS tsquery
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN given ~ '{_JOINERS}'
    THEN search_terms(search_fold(given), is_whole)
        || search_terms(search_fold(regexp_replace(given, '{_JOINERS}', '', 'g')), is_whole)
    ELSE search_terms(search_fold(given), is_whole) END;
"""

DROP_SEARCH_FUNCTIONS = """
DROP FUNCTION search_query;
DROP FUNCTION search_beginnings;
DROP FUNCTION search_terms;
DROP FUNCTION search_stems;
DROP FUNCTION search_spellings;
DROP FUNCTION search_fold;
"""


class NameWords(Func):
    """The words of a name, in all their spellings, and those of another text, as a vector without stems."""

    template = "to_tsvector('simple', search_fold(search_spellings(%(expressions)s))"
    arg_joiner = ") || ' ' || "
    arity = 2
    output_field = SearchVectorField()


class Wanted(Func):
    """What a search looks for, as a tsquery.

    All words must match, the last one as a prefix; English words without meaning (the, of) count only if there are no
    others. With ``whole`` all words must match as whole words.
    """

    function = "search_query"
    output_field = SearchQueryField()

    def __init__(self, text: str, *, whole: bool = False) -> None:
        super().__init__(Value(text), Value(whole))


class Beginnings(Func):
    """The words of a text as a tsquery: each must be the beginning of a word."""

    template = "search_beginnings(search_fold(%(expressions)s))"
    arity = 1
    output_field = SearchQueryField()


class Matches(Func):
    """Whether a vector has what a tsquery wants."""

    template = "(%(expressions)s)"
    arg_joiner = " @@ "
    arity = 2
    output_field = BooleanField()


@CharField.register_lookup
class Alike(Transform):
    """`column__alike=text` compares without regard to case and Unicode form. An index may be on the same expression."""

    lookup_name = "alike"
    template = "LOWER(NORMALIZE(%(expressions)s, NFKC))"
    bilateral = True
    output_field = TextField()


def alike_key(text: str) -> str:
    """Texts with the same key are alike."""
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in normalize("NFKC", text))
