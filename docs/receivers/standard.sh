#!/bin/sh
# Verify the Standard Webhooks signature: WEBHOOK_SECRET=whsec_… standard.sh HEADERS BODY
# The key stands in openssl's command line for a moment: not for machines shared with people you do not trust.
set -eu
header() { tr -d '\r' < "$headers" | awk -F': ' -v name="$1" 'tolower($1) == name { print $2; exit }'; }
headers=$1 body=$2

sent=$(header webhook-timestamp) now=$(date +%s)
case $sent in '' | *[!0-9]*) echo 'refused: there is no timestamp' >&2; exit 1 ;; esac
if [ $((now - sent)) -gt 300 ] || [ $((sent - now)) -gt 300 ]; then
  echo 'refused: older or newer than 5 minutes' >&2; exit 1
fi

key=$(printf %s "${WEBHOOK_SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
expected=$({ printf '%s.%s.' "$(header webhook-id)" "$sent"; cat "$body"; } |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
for given in $(header webhook-signature); do
  if [ "$given" = "v1,$expected" ]; then echo ok; exit 0; fi
done
echo 'refused: no signature is right' >&2
exit 1
