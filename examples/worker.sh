#!/usr/bin/env bash
# A tickq worker in bash, curl and jq. TICKQ_URL=http://localhost:8000 examples/worker.sh
set -muo pipefail # -m: each thing in the background can be ended with all that it has started

url=${TICKQ_URL:-http://localhost:8000}
worker=${TICKQ_WORKER:-$(hostname):$$}
lease_ms=30000
for tool in curl jq; do
	command -v $tool >/dev/null || { echo "worker.sh needs $tool" >&2; exit 2; }
done

# A task reads the payload and writes the result, both JSON. An exit status other than 0 is a failed attempt, and what it said its error.
shout() { jq -ce '{text: .text | ascii_upcase}'; }
tasks='["shout"]'

call() { # path: sends the JSON of its input. The key goes by a file, since every process may read another's arguments.
	curl -sS --fail-with-body --max-time 30 -H 'Content-Type: application/json' --data-binary @- "${url%/}$1" \
		${TICKQ_KEY:+-H @<(printf 'Authorization: Bearer %s' "$TICKQ_KEY")}
}

keep() { # lease, pid: extends the lease three times as often as it would end; ends the task when it should stop
	local status
	while sleep $((lease_ms / 3000)) && kill -0 $$; do # not longer than this worker lives
		status=$(jq -nc --arg worker "$worker" --argjson lease "$1" --argjson ms $lease_ms \
			'{worker: $worker, leases: [$lease], lease_ms: $ms}' | call /api/leases/heartbeat | jq -r '.leases[0].status')
		case $status in cancel_requested | lost) touch "$dir/stop" && kill -- "-$2" ;; esac
	done 2>/dev/null
}

ends() { # waits for $child; answers its status, also when a signal comes between
	[ -z "$stopping" ] || kill -- "-$child"
	wait "$child"
	local status=$?
	[ -z "$stopping" ] || { wait "$child"; status=$?; }
	child=
	return $status
} 2>/dev/null

run() { # job
	local lease keeper= status=1 pause=1
	lease=$(jq -c '{id, lease_token}' <<<"$1")
	jq -c .payload <<<"$1" >"$dir/payload"
	rm -f "$dir/stop"
	if [ -z "$stopping" ]; then
		"$(jq -r .task <<<"$1")" <"$dir/payload" >"$dir/result" 2>"$dir/error" &
		child=$!
		keep "$lease" $child &
		keeper=$!
		disown $keeper
		ends
		status=$?
	fi
	if [ $status = 0 ] && jq -c '{outcome: "done", result: .}' <"$dir/result" >"$dir/ending" 2>>"$dir/error"; then :
	elif [ -n "$stopping" ]; then echo '{"outcome": "release"}' >"$dir/ending"
	elif [ -e "$dir/stop" ]; then echo '{"outcome": "cancelled"}' >"$dir/ending"
	else jq -Rsc --arg status "exit status $status" '{outcome: "retry", error: (if . == "" then $status else . end)}' <"$dir/error" >"$dir/ending"
	fi
	# Sent until there is an answer; the lease is kept meanwhile. 409 says that it was lost, and the job is somebody else's.
	until jq -c --argjson lease "$lease" '{results: [$lease + .]}' <"$dir/ending" | call /api/leases/settle >"$dir/answer"; do
		echo "settle: $(cat "$dir/answer")" >&2
		case $(jq .status <"$dir/answer") in
		413) echo '{"outcome": "failed", "error": "the result is too large: store it elsewhere and return where it is"}' >"$dir/ending" ;;
		4??) break ;;
		*) sleep $pause && pause=$((pause < 16 ? pause * 2 : 30)) ;;
		esac 2>/dev/null
	done
	[ -z "$keeper" ] || kill -- "-$keeper" 2>/dev/null
}

dir=$(mktemp -d)
stopping= child=
trap 'rm -rf "$dir"' EXIT
trap 'stopping=1; [ -z "$child" ] || kill -- "-$child" 2>/dev/null' TERM INT
pause=1 wait_ms=0
while [ -z "$stopping" ]; do
	jq -nc --arg worker "$worker" --argjson tasks "$tasks" --argjson ms $lease_ms --argjson wait $wait_ms \
		'{worker: $worker, tasks: $tasks, lease_ms: $ms, wait_ms: $wait}' >"$dir/ask"
	call /api/leases <"$dir/ask" >"$dir/leases" &
	child=$!
	if ends; then
		[ $wait_ms != 0 ] || echo "serving $(jq -r 'join(", ")' <<<"$tasks") at $url"
		pause=1 wait_ms=20000
		jq -c '.jobs[]' <"$dir/leases" >"$dir/jobs"
		while read -r job <&3; do run "$job"; done 3<"$dir/jobs"
	elif [ -z "$stopping" ]; then
		echo "lease: $(cat "$dir/leases")" >&2
		sleep $pause
		pause=$((pause < 16 ? pause * 2 : 30))
	fi
done
