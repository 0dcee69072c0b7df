"""A newer package of the Docker engine, for a host of a lab: the one that it has, under a higher version."""

from __future__ import annotations

SUFFIX = "+newer1"
VERSION = "dpkg-query --show --showformat '${Version}' docker.io"

# What was installed, with its own scripts; and a source of packages that has nothing else.
MAKE = """set -eu
at=/opt/newer new=$(mktemp -d); mkdir -p $new/DEBIAN $at; chmod 755 $new
dpkg -L docker.io | while read -r file; do
    if [ -d "$file" ]; then continue; elif [ -h "$file" ] || [ -f "$file" ]; then echo ".$file"; fi
done > $new/DEBIAN/files
tar --create --directory / --files-from $new/DEBIAN/files | tar --extract --directory $new
rm $new/DEBIAN/files
for name in preinst postinst prerm postrm conffiles; do
    was=/var/lib/dpkg/info/docker.io.$name
    if [ -e $was ]; then cp -p $was $new/DEBIAN/$name; fi
done
dpkg-query --show --showformat 'Package: ${Package}
Version: ${Version}SUFFIX
Architecture: ${Architecture}
Maintainer: ${Maintainer}
Depends: ${Depends}
Description: ${binary:Summary}
' docker.io > $new/DEBIAN/control
dpkg-deb -Znone --build $new $at/docker.deb >&2
cd $at
{ dpkg-deb --field docker.deb; echo 'Filename: ./docker.deb'; echo "Size: $(stat -c %s docker.deb)"
  echo "SHA256: $(sha256sum docker.deb | cut -d ' ' -f 1)"; } > Packages
rm -f /etc/apt/sources.list.d/*; echo 'deb [trusted=yes] file:/opt/newer ./' > /etc/apt/sources.list
rm -rf $new
""".replace("SUFFIX", SUFFIX)
