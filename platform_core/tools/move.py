"""``manage.py move_service``: moves a service's schema to another Postgres server while the platform runs.

Logical replication copies the schema and then follows its changes. For a moment nobody may write: the role is fenced on
the source, the rest is received, sequences are set, both copies are compared, and the feed begins a new epoch, because
the new server counts transactions from its own start. Then the role may connect to the new server.

Where a move stands is read from the two servers, so that it goes on after it was interrupted:

    the schema on the target has our comment   the target was prepared by this command
    the subscription exists                    rows are being copied
    the role may not connect to the source     the pause
    the role may connect to the target         the service has moved
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

from platform_core.conf.environment import as_url, database_parts, owner_url
from platform_core.conf.failpoints import reached
from platform_core.db.waiting import open_connection
from platform_core.stack import StackError, ensure_database, ensure_roles, lives_there, pg_tools, postgres, raise_epoch
from platform_core.tools import replication as servers
from platform_core.topology import Service

OLDEST = 150_000
"""The oldest server version: PostgreSQL 15."""
RECEIVE_SECONDS = 60.0
"""The longest wait, within the pause, for the last changes. Then the source takes writes again."""
_REPORT_SECONDS = 2.0
_SYSTEM = "SELECT system_identifier FROM pg_control_system()"
_WRITTEN_BY_READING = ("events_feedepoch", "events_serverhistory", "events_feedconsumer")
"""Tables that change although the service has done nothing on the target yet."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user wants.

    ``target``, ``source``: URLs of administrators. ``source_from_target``: the URL by which the target's server reaches
    the source; by default the source's. ``then``: the shell command that starts the service with its new URL, ``lead``
    seconds before the pause; its processes become ready when the target opens. ``before_pause``: a command that runs
    right before the pause. ``url_file``: gets the service's new URL. ``ask``: asks before the pause.
    """

    target: str
    source: str | None = None
    source_from_target: str | None = None
    url_file: Path | None = None
    before_pause: str | None = None
    then: str | None = None
    lead: float = 0.0
    minutes: float = 60.0
    with_contents: bool = True
    ask: Callable[[str], object] | None = None


@dataclass
class Move:
    """The move of one service. ``values`` are the parsed variables, with the URL of the embedded server if it is used.

    ``is_embedded``: the source is the embedded server.
    """

    service: Service
    values: Mapping[str, Any]
    options: Options
    is_embedded: bool
    paused_at: float = field(default=0.0, init=False)
    starting: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def role(self) -> str:
        """The role, and the schema of the same name."""
        return self.service.role

    @property
    def name(self) -> str:
        """The name of publication, subscription and slot."""
        return f"move_{self.service.package}"

    @cached_property
    def source_url(self) -> str:
        """The URL of the source's administrator. Raises StackError."""
        own = self.values[self.service.database_url_variable]
        if self.options.source:
            return self.options.source
        url = owner_url(self.values)
        if url and (not own or lives_there(self.service, self.values)):
            return url
        raise StackError(f"{self.service.name} has a database of its own: give --from, the URL of its administrator.")

    @cached_property
    def source(self) -> servers.Admin:
        """The connection to the source."""
        return self._connect("source", self.source_url)

    @cached_property
    def target(self) -> servers.Admin:
        """The connection to the target. Creates the database if there is none."""
        return self._connect("target", self.options.target, ensure_database)

    @cached_property
    def target_values(self) -> dict[str, Any]:
        """The variables with which the target is the service's server."""
        return self._values_with(self.options.target)

    @cached_property
    def _source_values(self) -> dict[str, Any]:
        return self._values_with(self.source_url)

    def _values_with(self, url: str) -> dict[str, Any]:
        own = (self.service.database_url_variable, self.service.direct_url_variable)
        return {**self.values, "DATABASE_URL": url, "DIRECT_URL": None, **dict.fromkeys(own)}

    @cached_property
    def new_url(self) -> str:
        """The service's URL on the target."""
        return as_url(database_parts(self.service, self.target_values) or {})

    @cached_property
    def mark(self) -> str:
        """The comment on the schema of the target, while the move lasts."""
        return f"move_service: from server {servers.one(self.source, _SYSTEM)}"

    # The stages, each of which is skipped when it was passed before.

    def run(self) -> None:
        """Move the service, or go on with a move that was interrupted. Raises StackError."""
        if self._has_ended():
            say(f"{self.service.name} has been moved already. Its URL: {self._shown_url()}")
            return
        if not self.is_live:
            if self.is_fenced and not self._is_ours():
                raise StackError(f"{self.role} may not log in at the source: has it been moved to another server?")
            if not self.is_fenced:
                self.check()
                self.prepare()
                self.replicate()
                self.catch_up()
                self._confirm()
                self._start_early()
                self._before_pause()
            self.switch_over()
        self.hand_over()
        self.finish()

    @property
    def is_fenced(self) -> bool:
        """Whether the role may not connect to the source."""
        return servers.may_log_in(self.source, self.role) is False

    @property
    def is_live(self) -> bool:
        """Whether the role may connect to the schema that was moved."""
        return self._is_ours() and servers.may_log_in(self.target, self.role) is True

    def check(self) -> None:
        """Raises StackError with all that is in the way, before anything is changed."""
        say(f"1. Checking {self.service.name}, schema {self.role}.")
        if servers.one(self.source, "SELECT to_regnamespace(%s)::text", self.role) is None:
            raise StackError(f"The source has no schema {self.role}.")
        problems = [*self._server_problems(), *self._schema_problems()]
        if problems:
            raise StackError("The service cannot be moved: " + " ".join(problems))
        if servers.one(self.source, "SHOW wal_level") != "logical":
            self._make_logical()

    def prepare(self) -> None:
        """Create role and schema on the target. The role may not connect before the service has moved."""
        say("2. Preparing the target.")
        if self._is_ours() and not servers.is_subscribed(self.target, self.name):
            servers.drop_schema(self.target, self.role)  # of a run that was interrupted; it may hold rows
        ensure_roles(self.target_values, only=(self.service,))
        servers.fence(self.target, self.role)
        servers.comment(self.target, self.role, self.mark)
        reached("move.marked")
        if not servers.tables(self.target, self.role):
            self._copy_schema()
        reached("move.prepared")

    def replicate(self) -> None:
        """Publish the schema on the source, and subscribe the target to it."""
        say("3. Starting the copy.")
        servers.publish(self.source, self.role, self.name)
        reached("move.published")
        try:
            servers.subscribe(self.source, self.target, self.name, self.options.source_from_target or self.source_url)
        except psycopg.errors.QueryCanceled:
            raise StackError(
                "The copy could not begin, because a transaction on the source does not end: see pg_stat_activity. Run "
                "this command again."
            ) from None
        except psycopg.Error as error:
            raise StackError(f"The target cannot subscribe to the source: {_line(error)}") from None
        reached("move.subscribed")

    def catch_up(self) -> None:
        """Wait until the target has nearly everything. Raises StackError after ``minutes``."""
        say("4. Copying.")
        until, reported = time.monotonic() + self.options.minutes * 60, ""
        while True:
            servers.follow_partitions(self.source, self.target, self.role, self.role)
            now = servers.progress(self.source, self.target, self.name)
            line = (
                f"   {now.copied} of {now.tables} tables are copied, {now.behind / 1e6:,.1f} MB of changes are left"
                + (f"; {now.errors} errors, see the log of the target's server" if now.errors else "")
            )
            if line != reported:
                say(line)
                reported = line
            if now.is_caught_up:
                return
            if time.monotonic() > until:
                raise StackError(
                    f"The copy has not caught up within {self.options.minutes:g} minutes. It goes on: run this command "
                    "again to wait longer, or with --abort to give up."
                )
            time.sleep(min(_REPORT_SECONDS, 0.2 if now.behind < 10_000_000 else _REPORT_SECONDS))

    def switch_over(self) -> None:
        """The pause: nobody writes. If anything fails, the source takes writes again."""
        self.paused_at = time.monotonic()
        say(f"5. The pause begins: {self.service.name} answers 503 with Retry-After.")
        try:
            servers.fence(self.source, self.role)
            reached("move.fenced")
            self._receive_rest()
            number = servers.carry_sequences(self.source, self.target, self.role)
            self._at(f"{number} sequences are set")
            reached("move.sequenced")
            self._compare()
        except (psycopg.Error, StackError, KeyboardInterrupt) as error:
            self._give_back()
            self._stay()
            raise StackError(
                f"{_line(error)} {self.service.name} goes on at the source, and the copy as well: run this command "
                "again, or with --abort to give up."
            ) from None
        self._open_target()
        reached("move.live")

    def hand_over(self) -> None:
        """Tell the new URL, and start the service with it, unless that has begun."""
        say(f"6. {self.service.name} has a new URL: {self._shown_url()}")
        self._write_url(self.new_url)
        if not self.options.then:
            say(f"   Set {self.service.database_url_variable} and replace its processes; until then it answers 503.")
            return
        self._start()
        assert self.starting is not None
        code = self.starting.wait()
        if code:
            raise StackError(
                f"--then ended with code {code}. {self.service.name} has moved: start it with its new URL, and run "
                "move_service again, which cleans up."
            )
        if self.paused_at:
            self._at("--then has ended")

    def finish(self) -> None:
        """Remove what the move needed. The role stays fenced on the source."""
        say("7. Cleaning up.")
        self._remove_replication()
        servers.comment(self.source, self.role, f"Moved away by move_service. The role {self.role} may not log in.")
        servers.comment(self.target, self.role, None)
        say(
            f"{self.service.name} has moved. Its former schema is still on the source, and {self.role} may not log in "
            "there. Next: manage.py verify; when you no longer need the old rows, drop the schema."
        )

    def abort(self) -> None:
        """Give up a move: the service goes on at the source. Raises StackError if it has written to the target."""
        if not self._is_ours():
            raise StackError("There is no move to abort.")
        if self.is_live:
            self._take_back()
        self._remove_replication()
        if self.is_fenced:
            servers.let_in(self.source, self.role)
        self._stay()
        servers.drop_schema(self.target, self.role)
        say(f"The move is aborted. {self.service.name} goes on at the source.")

    # Parts of them.

    def _server_problems(self) -> list[str]:
        found = []
        ours, theirs = (each.info.server_version for each in (self.source, self.target))
        if min(ours, theirs) < OLDEST or theirs // 10_000 < ours // 10_000:
            found.append(
                f"It needs PostgreSQL 15 or later, and a target that is not older than the source: the source is "
                f"{ours // 10_000}, the target {theirs // 10_000}."
            )
        if servers.one(self.source, _SYSTEM) == servers.one(self.target, _SYSTEM):
            found.append("Source and target are the same server.")
        encoding = "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
        if servers.one(self.source, encoding) != servers.one(self.target, encoding):
            found.append("The databases have different encodings.")
        right = "SELECT rolsuper OR pg_has_role(current_user, 'pg_create_subscription', 'MEMBER') FROM pg_roles"
        if theirs >= 160_000 and not servers.one(self.target, f"{right} WHERE rolname = current_user"):
            found.append("The user of the target may not create subscriptions: GRANT pg_create_subscription to it.")
        right = "SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user"
        if not servers.one(self.source, right):
            found.append("The user of the source lacks the attribute REPLICATION.")
        return found

    def _schema_problems(self) -> list[str]:
        found = [f"Table {each}." for each in servers.unfit(self.source, self.role)]
        if "events_serverhistory" in servers.tables(self.source, self.role) and (
            lost := servers.one(self.source, f"SELECT lost FROM {self.role}.events_serverhistory WHERE lost <> ''")
        ):
            found.append(f"Its database has lost transactions: {lost}")
        if servers.tables(self.target, self.role) and not self._is_ours():
            found.append(f"The target has a schema {self.role} with tables already: drop it first.")
        return found

    def _make_logical(self) -> None:
        if not self.is_embedded:
            raise StackError(
                "The source has wal_level = replica: set it to logical and restart the server (docs/operations.md)."
            )
        say("   The embedded Postgres restarts with wal_level = logical.")
        self.source.close()
        del self.__dict__["source"]
        postgres.set_wal_level(Path(self.values["PLATFORM_DATA"]), "logical")

    def _copy_schema(self) -> None:
        """Copy the definitions, without rows, in one transaction. The schema itself is there."""
        dump, restore = (
            pg_tools.find_tool(tool, self.options.target, is_embedded=self.is_embedded)
            for tool in ("pg_dump", "pg_restore")
        )
        with tempfile.TemporaryDirectory() as name:
            file, contents = Path(name, "schema"), Path(name, "contents")
            what = (
                "--schema-only",
                "--schema",
                self.role,
                "--no-privileges",
                "--no-publications",
                "--no-subscriptions",
            )
            pg_tools.run_tool(dump, self.source_url, "--format=custom", *what, "--file", str(file))
            listed = subprocess.run([restore, "--list", str(file)], capture_output=True, text=True, check=True).stdout
            kept = [line for line in listed.splitlines() if " SCHEMA - " not in line and " - SCHEMA " not in line]
            contents.write_text("\n".join(kept))
            how = ("--single-transaction", "--exit-on-error", "--use-list", str(contents))
            pg_tools.run_tool(restore, self.options.target, *how, str(file))

    def _confirm(self) -> None:
        if self.options.ask:
            self.options.ask("   Press Enter to begin the pause, Ctrl-C to stop here; the copy stays up to date. ")

    def _give_back(self) -> None:
        """Let the service write to the source again. By a connection of its own: the present one may be broken."""
        try:
            with open_connection(self.source_url, autocommit=True) as connection:
                servers.let_in(connection, self.role)
        except psycopg.Error as error:
            raise StackError(f"{self.service.name} stays paused: {_line(error)} Run this command again.") from None
        self._at("the service goes on where it was")

    def _receive_rest(self) -> None:
        servers.follow_partitions(self.source, self.target, self.role, self.role)
        end, until = servers.end_of_log(self.source), time.monotonic() + RECEIVE_SECONDS
        while not servers.has_received(self.source, self.name, end):
            if time.monotonic() > until:
                raise StackError(f"The target did not receive the last changes within {RECEIVE_SECONDS:g} s.")
            time.sleep(0.02)
        self._at("all changes are received")

    def _compare(self) -> None:
        found = servers.differences(self.source, self.target, self.role, with_contents=self.options.with_contents)
        if found:
            raise StackError(f"The copies differ: {'; '.join(found)}.")
        self._at("both copies are equal")

    def _open_target(self) -> None:
        """Begin the new epoch and let the role connect to the target, in one transaction.

        If this fails, the outcome may be unknown. So the source stays fenced.
        """
        try:
            with self.target.transaction():
                epoch = raise_epoch(self.target, self.role) if self.service.has_feed else 0
                servers.let_in(self.target, self.role)
        except psycopg.Error as error:
            raise StackError(f"The target could not be opened: {_line(error)} Run this command again.") from None
        self._at(f"the target is open{f'; the feed continues in epoch {epoch}' if epoch else ''}")

    def _take_back(self) -> None:
        """Fence the target. Raises StackError if the service has written there."""
        servers.fence(self.target, self.role)
        found = servers.differences(
            self.source, self.target, self.role, with_contents=True, but_for=_WRITTEN_BY_READING
        )
        if found:
            servers.let_in(self.target, self.role)
            raise StackError(f"{self.service.name} has written to the target already: {'; '.join(found)}.")
        if self.service.has_feed:  # consumers may know the target's epoch
            highest = servers.one(self.target, f"SELECT max(value) FROM {self.role}.events_feedepoch")
            raise_epoch(self.source, self.role, highest)

    def _remove_replication(self) -> None:
        try:
            servers.unsubscribe(self.source, self.target, self.name)
        except psycopg.Error as error:
            raise StackError(
                f"The replication cannot be removed: {_line(error)} Run this command again. Until then the slot keeps "
                "the source's WAL."
            ) from None
        if self.is_embedded and not servers.has_logical_slots(self.source):
            postgres.set_wal_level(Path(self.values["PLATFORM_DATA"]), None)

    def _has_ended(self) -> bool:
        return self.is_fenced and not self._is_ours() and bool(servers.tables(self.target, self.role))

    def _is_ours(self) -> bool:
        return servers.schema_comment(self.target, self.role) == self.mark

    def _start(self) -> None:
        """Run ``then``, unless it runs already."""
        if self.starting is None and self.options.then:
            say(f"   Starting it: {self.options.then}")
            variables = {**os.environ, self.service.database_url_variable: self.new_url}
            self.starting = subprocess.Popen(["/bin/sh", "-c", self.options.then], env=variables)

    def _start_early(self) -> None:
        """Let the new processes load before the pause. They are not ready, since the target does not let them in."""
        if not self.options.lead or not self.options.then:
            return
        self._write_url(self.new_url)
        self._start()
        assert self.starting is not None
        with suppress(subprocess.TimeoutExpired):
            if code := self.starting.wait(self.options.lead):
                self._stay()
                raise StackError(f"--then ended with code {code} before the pause. {self.service.name} goes on.")
        self.catch_up()

    def _before_pause(self) -> None:
        if not self.options.before_pause:
            return
        code = subprocess.run(["/bin/sh", "-c", self.options.before_pause]).returncode
        if code:
            self._stay()
            raise StackError(f"--before-pause ended with code {code}. {self.service.name} goes on. Run this again.")

    def _stay(self) -> None:
        """Undo what was done for a start with the new URL."""
        former = "" if self.is_embedded else as_url(database_parts(self.service, self._source_values) or {})
        self._write_url(former)
        if self.starting is not None:
            self.starting.terminate()
            self.starting = None

    def _write_url(self, url: str) -> None:
        if (file := self.options.url_file) is None:
            return
        part = file.with_name(f".{file.name}.part")
        try:
            part.touch(mode=0o600)
            part.write_text(f"{url}\n")
            part.replace(file)
        except OSError as error:
            raise StackError(f"{file} cannot be written: {error.strerror}. Run this command again.") from None

    def _shown_url(self) -> str:
        parts = database_parts(self.service, self.target_values) or {}
        return as_url({**parts, **({"password": "…"} if parts.get("password") else {})})

    def _at(self, what: str) -> None:
        say(f"   {time.monotonic() - self.paused_at:5.1f} s: {what}")

    def _connect(self, which: str, url: str, first: Callable[[str], None] | None = None) -> servers.Admin:
        try:
            if first:
                first(url)
            return open_connection(url, autocommit=True)
        except psycopg.Error as error:
            raise StackError(f"The {which} does not answer: {_line(error)}") from None


def say(line: str) -> None:
    """Print a line of the progress at once."""
    print(line, flush=True)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "Interrupted."
