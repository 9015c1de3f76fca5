"""Postgres refuses a service access to the tables of another service."""

import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

SCHEMA = "product_svc"
TABLE = f"tests_secret_{os.getpid()}"


@pytest.fixture(scope="module")
def other_table() -> Iterator[str]:
    """A table of product-service in the database that all five share."""
    admin_url = os.environ["TESTS_DATABASE_URL"]
    name = sql.Identifier(SCHEMA, TABLE)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("SET ROLE product_svc")
        admin.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
        admin.execute(sql.SQL("CREATE TABLE {} (id int)").format(name))
        yield f"{SCHEMA}.{TABLE}"
        admin.execute(sql.SQL("DROP TABLE {}").format(name))


@pytest.fixture
def session() -> Iterator[psycopg.Connection]:
    """A connection to the same database with the role of user-service."""
    with psycopg.connect(os.environ["TESTS_DATABASE_URL"], user="user_svc", autocommit=True) as session:
        yield session


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM {}",
        "SELECT 1 FROM {} LIMIT 0",
        "INSERT INTO {} VALUES (1)",
        "UPDATE {} SET id = 2",
        "DELETE FROM {}",
        "TRUNCATE {}",
        "DROP TABLE {}",
        "ALTER TABLE {} ADD COLUMN x int",
        "CREATE TABLE {}_mine (id int REFERENCES {})",
        "CREATE VIEW {}_view AS SELECT 1",
        "CREATE TABLE product_svc.mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "SET ROLE product_svc",
        "GRANT product_svc TO user_svc",
        "DROP SCHEMA product_svc CASCADE",
    ],
)
def test_it_is_refused(session, other_table, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(statement.format(other_table, other_table))


def test_the_owner_may_read_their_account(other_table):
    with psycopg.connect(os.environ["TESTS_DATABASE_URL"], user="product_svc", autocommit=True) as owner:
        assert owner.execute(f"SELECT * FROM {TABLE}").fetchall() == []


def test_the_own_schema_is_first_in_the_search_path(session):
    assert session.execute("SELECT current_schema()").fetchone() == ("user_svc",)
