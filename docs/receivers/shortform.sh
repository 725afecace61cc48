#!/bin/sh
# Verify the X-Shortform signature: WEBHOOK_SECRET=whsec_… shortform.sh HEADERS BODY
# The key stands in openssl's command line for a moment: not for machines shared with people you do not trust.
set -eu
header() { tr -d '\r' < "$headers" | awk -F': ' -v name="$1" 'tolower($1) == name { print $2; exit }'; }
headers=$1 body=$2

sent=$(header x-shortform-timestamp) now=$(date +%s)
case $sent in '' | *[!0-9]*) echo 'refused: there is no timestamp' >&2; exit 1 ;; esac
if [ $((now - sent)) -gt 300 ] || [ $((sent - now)) -gt 300 ]; then
  echo 'refused: older or newer than 5 minutes' >&2; exit 1
fi

key=$(printf %s "$WEBHOOK_SECRET" | od -An -v -tx1 | tr -d ' \n')
expected=$({ printf '%s.' "$sent"; cat "$body"; } |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | od -An -v -tx1 | tr -d ' \n')
if [ "$(header x-shortform-signature)" = "sha256=$expected" ]; then echo ok; exit 0; fi
echo 'refused: the signature is wrong' >&2
exit 1
