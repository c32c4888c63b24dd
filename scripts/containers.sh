# shellcheck shell=bash
# Functions for containers where no registry of images is reached: a private engine, and base images of Debian's packages. To be
# sourced after lib.sh, with `state` set to a directory of the caller's.
#
# It uses a running engine as it is, and removes nothing from it.
set -euo pipefail
: "${root:?the caller sets it}" "${state:=}"

readonly MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
# A private engine answers after a second or two.
readonly ENGINE_SECONDS=60

engine_pid=

# need_engine: uses the engine that the docker command reaches, else starts a private one.
need_engine() {
    if docker info >/dev/null 2>&1; then return; fi
    [ "$(id -u)" -eq 0 ] || die "$EXIT_UNAVAILABLE" "no engine of containers runs here, and only root can start one."
    # iptables: Debian's engine only recommends it, and has no network without it.
    if ! has dockerd || ! has iptables; then apt_install docker.io iptables; fi
    # A path of at most 107 bytes.
    run=$(mktemp -d /run/sluice-check.XXXXXX)
    export DOCKER_HOST="unix://$run/docker.sock"
    say "starting a private engine; its images are kept in $state/engine"
    dockerd --data-root "$state/engine" --exec-root "$run/exec" --pidfile "$run/pid" -H "$DOCKER_HOST" >"$state/engine.log" 2>&1 &
    engine_pid=$!
    local waited=0
    until docker info >/dev/null 2>&1; do
        waited=$((waited + 1))
        if ! kill -0 "$engine_pid" 2>/dev/null || [ "$waited" -gt "$ENGINE_SECONDS" ]; then
            tail -n 5 "$state/engine.log" >&2
            die "$EXIT_UNAVAILABLE" "the engine does not start; the end of $state/engine.log is above."
        fi
        sleep 1
    done
}

# stop_engine: ends the engine that need_engine started.
stop_engine() {
    [ -n "$engine_pid" ] || return 0
    kill "$engine_pid" 2>/dev/null || true
    wait "$engine_pid" 2>/dev/null || true
    # The engine may leave the mount of a network behind.
    umount "$run"/exec/netns/* 2>/dev/null || true
    rm -rf "$run" || true
    engine_pid=
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# debian_image RELEASE PACKAGE...: the image sluice-check/debian:RELEASE, of Debian's packages with checked signatures.
debian_image() {
    local release=$1 name="sluice-check/debian:$1"
    shift
    if has_image "$name"; then return; fi
    has mmdebstrap || apt_install mmdebstrap
    say "making $name (a minute or two)"
    local packages
    packages=$(printf ',%s' "$@")
    # A mirror that is frozen at a day serves lists whose time is over; their signatures are checked all the same.
    mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --include="${packages#,}" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$release" "$state/$release.tar" "$MIRROR" ||
        die "$EXIT_UNAVAILABLE" "mmdebstrap cannot make Debian's $release from $MIRROR; its output is above."
    docker import "$state/$release.tar" "$name" >/dev/null
    rm -f "$state/$release.tar"
}

# rust_image: the image sluice-check/rust, of this machine's Rust and of the crates of Cargo.lock. It builds without a network.
rust_image() {
    local name=sluice-check/rust crates made
    crates=$(sha256sum "$root/Cargo.lock" | cut -c 1-16)
    if has_image "$name:$crates"; then return; fi
    say "making $name of $(rustc --version)"
    (cd "$root" && cargo fetch --locked --quiet)
    # The directories of this machine are mounted, not sent.
    made=$(docker create -v "$(rustc --print sysroot):/toolchain:ro" -v "${CARGO_HOME:-$HOME/.cargo}/registry:/registry:ro" \
        sluice-check/debian:bookworm sh -c 'mkdir -p /opt/rust /opt/cargo/registry &&
            cp -a /toolchain/bin /toolchain/lib /opt/rust/ && cp -a /registry/cache /registry/index /opt/cargo/registry/')
    docker start -a "$made"
    docker commit --change 'ENV PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/opt/cargo CARGO_NET_OFFLINE=true' \
        "$made" "$name:$crates" >/dev/null
    docker rm "$made" >/dev/null
    docker tag "$name:$crates" "$name:latest"
}

# need_compose: version 2 of compose. Debian 13 has it, and its program runs here, too.
need_compose() {
    if docker compose version >/dev/null 2>&1; then return; fi
    local made plugin="$state/docker/cli-plugins/docker-compose"
    export DOCKER_CONFIG="$state/docker"
    if docker compose version >/dev/null 2>&1; then return; fi
    mkdir -p "$(dirname "$plugin")"
    made=$(docker create sluice-check/debian:trixie true)
    docker cp -q "$made:/usr/libexec/docker/cli-plugins/docker-compose" "$plugin" 2>/dev/null ||
        docker cp "$made:/usr/libexec/docker/cli-plugins/docker-compose" "$plugin"
    docker rm "$made" >/dev/null
    docker compose version >/dev/null 2>&1 || die "$EXIT_UNAVAILABLE" "Debian's docker-compose does not run here."
}

# stand_in NAME TAG DEBIAN ARGUMENT...: an image of tests/compose/images.
stand_in() {
    local name=$1 tag=$2 debian=$3
    shift 3
    # Version 1 of the builder is part of each engine, and these images need no other.
    DOCKER_BUILDKIT=0 docker build -t "sluice-check/$name:$tag" -f "$root/tests/compose/images/$name.Dockerfile" \
        --build-arg "DEBIAN=sluice-check/debian:$debian" "$@" "$root/tests/compose/images" >"$state/build.log" 2>&1 || {
        tail -n 5 "$state/build.log" >&2
        die "$EXIT_UNAVAILABLE" "the image $name does not build; its output is above."
    }
}
