"""The statement that stores that mails were sent."""

from notification_svc.models import Notification
from platform_core.events import appending
from platform_core.outbox import DELIVERED, HELD
from platform_core.vocabulary import EventType, NotificationStatus

_SENT = NotificationStatus.SENT
_EVENTS = f"""
    SELECT '{EventType.of_notification(_SENT)}', id::text, jsonb_build_object(
        'version', version, 'userId', user_id::text, 'type', type, 'channel', channel, 'status', status,
        'createdAt', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    ), request_id, traceparent
    FROM sent ORDER BY id
"""

STORE_SENT = f"""
    WITH held AS MATERIALIZED ({HELD}), delivered AS ({DELIVERED}),
    sent AS (
        UPDATE {Notification._meta.db_table} n
        SET status = '{_SENT}', version = n.version + 1, updated_at = now(), sent_at = now(), attempts = d.attempts,
            last_error = NULL, recipient = CASE WHEN n.erased_at IS NULL THEN w.recipient ELSE '' END,
            sealed = CASE WHEN n.sealed IS NOT NULL THEN '' END
        FROM delivered d JOIN unnest(%(ids)s::bigint[], %(notifications)s::bigint[], %(recipients)s::text[])
            AS w (id, notification_id, recipient) ON w.id = d.id
        WHERE n.id = w.notification_id AND n.status <> '{_SENT}'
        RETURNING n.id, n.version, n.user_id, n.type, n.channel, n.status, n.created_at, d.request_id, d.traceparent
    ), recorded AS ({appending(_EVENTS, "e.request_id", "e.traceparent")})
    SELECT id FROM delivered
"""
"""Stores for several messages of the outbox that their notifications were sent, with the events. Returns the ids of the
messages whose lease still held. Where a notification went is kept, unless the person was erased meanwhile; a
confidential text is erased. The events carry the same as `services.snapshot`.
"""
