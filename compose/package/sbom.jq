# Makes a software bill of materials (CycloneDX 1.5) of what `cargo metadata` prints: the crates that are compiled into the
# programs, without those that only tests use. $checksums are those of Cargo.lock, by "name version".

def crates($ids; $nodes):
    ($ids + [$ids[] | $nodes[.].deps[] | select(any(.dep_kinds[]; .kind != "dev")) | .pkg] | unique) as $more
    | if ($more | length) == ($ids | length) then $more else crates($more; $nodes) end;

# The licence of a crate, as Cargo states it; "/" is the old form of OR.
def licence: if .license then [{ expression: (.license | gsub("/"; " OR ")) }] else [] end;

def purl: "pkg:cargo/\(.name)@\(.version)";

. as $all
| (.resolve.nodes | map({ key: .id, value: . }) | from_entries) as $nodes
| (.packages | map({ key: .id, value: . }) | from_entries) as $packages
| [.packages[] | select(.source == null and (.name == "sluice" or .name == "sluice-mosquitto")) | .id] as $roots
| crates($roots; $nodes) as $ids
| ($packages | map(select(.source == null and .name == "sluice")) | first) as $sluice
| {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
        timestamp: $timestamp,
        component: { "bom-ref": ($sluice | purl), type: "application", name: "sluice", version: $sluice.version, licenses: ($sluice | licence) }
    },
    components: [
        $ids[] | $packages[.] | select(.name != "sluice")
        | {
            "bom-ref": purl, type: "library", name, version, purl: purl, licenses: licence,
            hashes: [$checksums["\(.name) \(.version)"] // empty | { alg: "SHA-256", content: . }]
        }
    ],
    dependencies: [
        $ids[] | . as $id
        | {
            ref: ($packages[$id] | purl),
            dependsOn: [$nodes[$id].deps[] | select(any(.dep_kinds[]; .kind != "dev")) | $packages[.pkg] | purl] | unique
        }
    ]
}
