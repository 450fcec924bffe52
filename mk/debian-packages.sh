#!/bin/sh
# Installs the packages it is given where root and apt are; else says which are missing. It never fails, and what the
# packages bring is not started.
missing=""
for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # no service is started
        chmod 755 /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    install() { apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1; }
    install || { apt-get update -qq >/dev/null 2>&1 && install; } && exit 0
fi
echo "missing, so that their tests skip:$missing; install them with apt-get install --no-install-recommends" >&2
exit 0
