#!/bin/sh
# Load a downloaded .jsonl.gz into a PostgreSQL table, each event once: load_postgresql.sh FILE CONNECTION
set -eu
file=$1 connection=$2
gunzip -t "$file"

# A quote and a delimiter that JSON text never holds make COPY take each line as it is.
gunzip -c "$file" | psql "$connection" -qAt -v ON_ERROR_STOP=1 \
  -c "set client_min_messages = warning" \
  -c "create table if not exists events (
        event_id text primary key, data_type text not null, event text not null, content_id text,
        user_id text not null, at timestamptz not null, session_id text, device_type text not null,
        device_id text, country text, received_at timestamptz not null, data jsonb not null)" \
  -c "create temporary table lines (line jsonb)" \
  -c "copy lines from stdin with (format csv, quote e'\\x01', delimiter e'\\x02')" \
  -c "insert into events
      select line->>'eventId', line->>'dataType', line->>'event', line->>'contentId', line->>'userId',
             (line->>'timestamp')::timestamptz, line->>'sessionId', line->>'deviceType', line->>'deviceId',
             line->>'country', (line->>'receivedAt')::timestamptz, line->'data'
      from lines on conflict (event_id) do nothing" \
  -c "select count(*) from events"
