"""Reads wheels for cmake/wheels.js: wheel.py requires WHEEL EXTRAS | unpack WHEEL FOLDER PREFIX..."""

import email
import json
import sys
import zipfile


def requires(wheel, extras):
    """Prints what the wheel needs on this machine, with the given comma-separated extras, as JSON."""
    from pip._vendor.packaging.requirements import Requirement

    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    found = []
    for line in metadata.get_all("Requires-Dist") or []:
        need = Requirement(line)
        wanted = [""] + [extra for extra in extras.split(",") if extra]
        if need.marker and not any(need.marker.evaluate({"extra": extra}) for extra in wanted):
            continue
        found.append(
            {"name": need.name, "extras": sorted(need.extras), "specifier": str(need.specifier)}
        )
    print(json.dumps(found))


def unpack(wheel, folder, prefixes):
    """Extracts the files under the prefixes; prints the done fraction, a line a hundredth."""
    with zipfile.ZipFile(wheel) as archive:
        members = [m for m in archive.infolist() if m.filename.startswith(tuple(prefixes))]
        # Python's own bindings are of no use without Python.
        members = [m for m in members if not m.filename.endswith(("_python.so", "_test.so"))]
        total = sum(m.file_size for m in members) or 1
        done = shown = 0
        for member in members:
            archive.extract(member, folder)  # checks the CRC
            done += member.file_size
            if done * 100 // total > shown:
                shown = done * 100 // total
                print(done / total, flush=True)


if sys.argv[1] == "requires":
    requires(sys.argv[2], sys.argv[3])
else:
    unpack(sys.argv[2], sys.argv[3], sys.argv[4:])
