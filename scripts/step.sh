#!/bin/sh
# step.sh NAME COMMAND...: runs the command and says how long it took.
name=$1
shift
began=$(date +%s)
echo "==> $name"
"$@"
code=$?
echo "<== $name: $(($(date +%s) - began)) s, exit $code"
exit $code
