"""The functions from which writers of events get the epoch, and with which `new_epoch` excludes them.

See `platform_core.events.log`. The lock is one of the schema, since its key contains the oid of one of its tables.
"""

from django.db import migrations

# Two statements, and not one: each statement of a VOLATILE function sees what was committed before it began. A single
# statement that takes the lock and reads the epoch would, after it has waited, still read the epoch of before.
_CREATE = """
CREATE OR REPLACE FUNCTION events_epoch_to_write() RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    found integer;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'events are written in READ COMMITTED transactions only'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock_shared(72026112, 'events_feedepoch'::regclass::oid::integer);
    SELECT value INTO found FROM events_feedepoch ORDER BY value DESC LIMIT 1;
    RETURN coalesce(found, 1);
END
$$
"""
_CREATE_EXCLUDING = """
CREATE OR REPLACE FUNCTION events_exclude_writers() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(72026112, 'events_feedepoch'::regclass::oid::integer);
END
$$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("events", "0003_event_by_request"),
    ]

    operations = [
        migrations.RunSQL(_CREATE, "DROP FUNCTION events_epoch_to_write()"),
        migrations.RunSQL(_CREATE_EXCLUDING, "DROP FUNCTION events_exclude_writers()"),
    ]
