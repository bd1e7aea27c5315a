"""The part of the double that artifacts are in: sequences, collections they are linked into, aliases, files.

It answers the operations that W&B's client 0.31 sends (`wandb/sdk/artifacts/_generated`) with the fields of their
fragments. What it adds of its own is what W&B's documentation, its client's code and those who write it say of the server: versions are
numbered as they are committed, the same digest in one sequence is the same version, an alias names one version of
a collection, `latest` is the last one, a version is linked into a collection once and numbered there anew.
It lists no `v3` among aliases, which leaves the client with the number a version has where it was logged.
"""

from __future__ import annotations

import base64
import json

_MADE = "2026-01-01T00:00:00Z"
_ORGANIZATION = "works-org"


class Collections:
    """Artifacts and where they are; a mixin of the double."""

    def __init__(self):
        self.artifacts, self.used, self.linked = [], [], []
        self.sequences = set()
        self.memberships = {}  # place: by artifact, the versions of the collection, with artifact, index and aliases
        self.numbered = {}  # place: how many versions there ever were
        self.replaced = {}  # an entry's digest: what is there in its stead

    # -- logging ---------------------------------------------------------------------------------

    def on_create_artifact(self, given):
        told = given["input"]
        place = f"{told['entityName']}/{told['projectName']}/{told['artifactCollectionName']}"
        same = [one for one in self.artifacts if (one["place"], one["digest"]) == (place, told["digest"])]
        if not same:
            made = {
                "id": f"artifact-{len(self.artifacts)}", "name": told["artifactCollectionName"], "place": place,
                "digest": told["digest"], "state": "PENDING", "type": told["artifactTypeName"], "version": None,
                "metadata": json.loads(told.get("metadata") or "{}"), "description": told.get("description"),
                "asked": set(), "run": told.get("runName"),
            }  # fmt: skip
            self.artifacts.append(made)
            self.sequences.add(place)
            same = [made]
        same[0]["asked"] |= {one["alias"] for one in told.get("aliases") or []}
        if same[0]["state"] == "COMMITTED":
            self.move(place, same[0]["id"], same[0]["asked"])
        found = {"id": same[0]["id"], "state": same[0]["state"], "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": found}}

    def on_commit_artifact(self, given):
        found = self.artifact(given["artifactID"])
        found["state"] = "COMMITTED"
        found["version"] = self.join(found["place"], found)["index"]
        self.move(found["place"], found["id"], found["asked"])
        return {"commitArtifact": {"artifact": {"id": found["id"], "digest": found["digest"]}}}

    def join(self, place, artifact):
        """Make an artifact a version of a collection, once."""
        inside = self.memberships.setdefault(place, {})
        if artifact["id"] in inside:
            return inside[artifact["id"]]
        made = {"id": artifact["id"], "index": self.numbered.get(place, 0), "aliases": set()}
        self.numbered[place] = made["index"] + 1
        inside[made["id"]] = made
        return made

    def move(self, place, artifact, aliases):
        for one in self.memberships[place].values():
            one["aliases"] -= set(aliases)
        self.membership(place, artifact)["aliases"] |= set(aliases)

    # -- what tests look at ----------------------------------------------------------------------

    def artifact(self, id):
        return self.artifacts[int(id.removeprefix("artifact-"))]

    def membership(self, place, artifact):
        return self.memberships[place][artifact]

    def versions(self, place):
        """Return the versions of a collection, the oldest first."""
        return list(self.memberships.get(place, {}).values())

    def aliases(self, place):
        """Return each alias of a collection with the version it names."""
        return {alias: one["index"] for one in self.versions(place) for alias in one["aliases"]}

    def aliases_of(self, artifact):
        return sorted(self.membership(artifact["place"], artifact["id"])["aliases"])

    # -- telling ---------------------------------------------------------------------------------

    def collection(self, place):
        entity, project, name = place.split("/")
        kind = "ArtifactSequence" if place in self.sequences else "ArtifactPortfolio"
        project = {"id": "1", "internalId": "1", "name": project, "entity": {"name": entity}}
        types = [self.artifact(one)["type"] for one in list(self.memberships[place])[:1]] or ["model"]
        return {
            "__typename": kind, "id": place, "name": name, "project": project, "description": None, "createdAt": _MADE,
            "updatedAt": None, "type": {"name": types[0]}, "tags": {"edges": []},
        }  # fmt: skip

    def told(self, one):
        """Return an artifact as the client wants to see it."""
        aliases = [
            {"__typename": "ArtifactAlias", "id": alias, "alias": alias, "artifactCollection": self.collection(place)}
            for place, inside in self.memberships.items()
            if one["id"] in inside
            for alias in sorted(inside[one["id"]]["aliases"])
        ]
        return {
            "__typename": "Artifact", "id": one["id"], "artifactSequence": self.collection(one["place"]),
            "versionIndex": one["version"], "artifactType": {"name": one["type"]}, "description": one["description"],
            "metadata": json.dumps(one["metadata"]), "ttlDurationSeconds": -1, "ttlIsInherited": True, "tags": [],
            "historyStep": None, "state": one["state"], "size": self.size(one), "digest": one["digest"],
            "commitHash": "abc", "fileCount": 1, "aliases": aliases, "createdAt": _MADE, "updatedAt": None,
        }  # fmt: skip

    def entries(self, one):
        """Return what an artifact's manifest lists."""
        manifest = self.files.get(f"/manifest/{one['id']}/wandb_manifest.json")
        return json.loads(manifest)["contents"] if manifest else {}

    def size(self, one):
        return sum(entry.get("size") or 0 for entry in self.entries(one).values())

    def membership_told(self, place, member):
        aliases = [{"__typename": "ArtifactAlias", "id": one, "alias": one} for one in sorted(member["aliases"])]
        return {
            "__typename": "ArtifactCollectionMembership", "id": f"{place}:{member['index']}",
            "versionIndex": member["index"], "createdAt": _MADE, "aliases": aliases,
            "artifactCollection": self.collection(place), "artifact": self.told(self.artifact(member["id"])),
        }  # fmt: skip

    def found(self, place, alias):
        """Return the version of a collection that an alias or `v3` names, the last one for no name."""
        inside = self.versions(place)
        named = [one for one in inside if not alias or alias in one["aliases"] or alias == f"v{one['index']}"]
        return named[-1] if named else None

    # -- what the client asks --------------------------------------------------------------------

    def on_artifact_type(self, given):
        return {"project": None}

    def on_artifact_by_id(self, given):
        return {"artifact": self.told(self.artifact(given["id"]))}

    def on_artifact_by_name(self, given):
        name, _, alias = given["name"].partition(":")
        member = self.found(f"{given['entityName']}/{given['projectName']}/{name}", alias)
        return {"project": {"artifact": self.told(self.artifact(member["id"])) if member else None}}

    def on_artifact_membership_by_name(self, given):
        name, _, alias = given["name"].partition(":")
        place = f"{given['entity']}/{given['project']}/{name}"
        member = self.found(place, alias)
        told = self.membership_told(place, member) if member else None
        return {"project": {"artifactCollectionMembership": told}}

    def on_project_artifacts(self, given):
        place = f"{given['entity']}/{given['project']}/{given['collection']}"
        if place not in self.memberships:
            return {"project": {"artifactType": {"artifactCollection": None}}}
        inside = self.versions(place)[::-1]
        # Some answers come in pages, or nobody would notice a client that stops after the first.
        start = int(given.get("cursor") or 0)
        end = start + min(given["perPage"], 40)
        edges = [
            {"version": f"v{one['index']}", "cursor": one["id"], "node": self.told(self.artifact(one["id"]))}
            for one in inside[start:end]
        ]
        page = {"__typename": "PageInfo", "endCursor": str(end), "hasNextPage": end < len(inside)}
        found = {"totalCount": len(inside), "pageInfo": page, "edges": edges}
        collection = {"__typename": self.collection(place)["__typename"], "artifacts": found}
        return {"project": {"artifactType": {"artifactCollection": collection}}}

    def on_artifact_type_artifact_collections(self, given):
        start = f"{given['entity']}/{given['project']}/"
        found = [self.collection(place) for place in self.memberships if place.startswith(start)]
        found = [one for one in found if one["type"]["name"] == given["type"]]
        if not found:
            return {"project": None}
        edges = [{"node": one, "cursor": one["id"]} for one in found]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        found = {"totalCount": len(edges), "pageInfo": page, "edges": edges}
        return {"project": {"artifactType": {"artifactCollections": found}}}

    def on_run_output_artifacts(self, given):
        made = [one for one in self.artifacts if one["run"] == given["run"]]
        edges = [{"node": self.told(one), "cursor": one["id"]} for one in made]
        found = {"totalCount": len(edges), "pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": edges}
        return {"project": {"run": {"artifacts": found}}}

    def on_artifact_created_by(self, given):
        one = self.artifact(given["id"])
        creator = {"__typename": "Run", "id": one["run"], "name": one["run"]}
        creator["project"] = self.collection(one["place"])["project"]
        return {"artifact": {"createdBy": creator if one["run"] else None}}

    def on_fetch_org_info_from_entity(self, given):
        """Say in which organization an entity is: registries belong to that, not to the team."""
        organization = {"name": "works", "orgEntity": {"name": _ORGANIZATION}}
        return {"entity": {"name": given["entity"], "organization": organization, "user": None}}

    def on_is_project_read_only(self, given):
        return {"project": {"readOnly": False}}

    def on_organization_core_weave_organization_id(self, given):
        """W&B's client asks that at the end of a run, for a link to show."""
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def on_get_projects(self, given):
        names = sorted({one["place"].split("/")[1] for one in self.artifacts} | {"p"})
        edges = [{"node": _project(given["entity"], name), "cursor": name} for name in names]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": edges}}

    # -- what the client changes -----------------------------------------------------------------

    def on_link_artifact(self, given):
        given = given.get("input", given)
        found = self.artifact(given.get("artifactId") or given.get("artifactID"))
        place = f"{given['entityName']}/{given['projectName']}/{given['artifactPortfolioName']}"
        aliases = sorted(one["alias"] for one in given.get("aliases") or [])
        if (place, found["id"]) not in [one[:2] for one in self.linked]:
            self.linked.append((place, found["id"], aliases))
        member = self.join(place, found)
        last = max(self.versions(place), key=lambda one: one["index"])
        self.move(place, found["id"], aliases)
        self.move(place, last["id"], ["latest"])
        answer = {"versionIndex": member["index"], "artifactMembership": None}
        return {"linkArtifact": answer, "result": answer}

    def on_unlink_artifact(self, given):
        place, artifact = given["input"]["artifactPortfolioID"], given["input"]["artifactID"]
        self.memberships[place].pop(artifact)
        return {"result": {"success": True}}

    def on_project_artifact_collection(self, given):
        place = f"{given['entity']}/{given['project']}/{given['name']}"
        found = self.collection(place) if place in self.memberships else None
        return {"project": {"artifactType": {"artifactCollection": found}}}

    def on_delete_artifact(self, given):
        found = self.artifact(given["input"]["artifactID"])
        assert given["input"]["deleteAliases"] or not self.aliases_of(found), "W&B refuses that"
        for inside in self.memberships.values():
            inside.pop(found["id"], None)
        found["digest"] = None
        return {"result": {"artifact": {"id": found["id"]}}}

    def on_add_aliases(self, given):
        for one in given["input"]["aliases"]:
            self.move(_place(one), given["input"]["artifactID"], [one["alias"]])
        return {"result": {"success": True}}

    def on_delete_aliases(self, given):
        for one in given["input"]["aliases"]:
            self.membership(_place(one), given["input"]["artifactID"])["aliases"] -= {one["alias"]}
        return {"result": {"success": True}}

    def on_update_artifact(self, given):
        told = given["input"]
        found = self.artifact(told["artifactID"])
        found["metadata"], found["description"] = json.loads(told["metadata"]), told.get("description")
        return {"result": {"artifact": self.told(found)}}

    def on_use_artifact(self, given):
        self.used.append(given.get("input", given)["artifactID"])
        return {"useArtifact": {"artifact": {"id": given.get("input", given)["artifactID"]}}}

    # -- files -----------------------------------------------------------------------------------

    def on_create_artifact_manifest(self, given):
        given = given.get("input", given)
        name = f"{given['artifactID']}/{given['name']}"
        file = {"id": name, "name": given["name"], "displayName": given["name"], "uploadHeaders": [],
                "uploadUrl": f"{self.url}/manifest/{name}"}  # fmt: skip
        return {"createArtifactManifest": {"artifactManifest": {"id": name, "file": file}}}

    on_update_artifact_manifest = on_create_artifact_manifest

    def on_create_artifact_files(self, given):
        edges = []
        for one in given.get("input", given).get("artifactFiles", []):
            path = f"/files/{one['artifactID']}/{one['name']}"
            node = {"id": path, "name": one["name"], "displayName": one["name"], "uploadHeaders": [],
                    "uploadUrl": self.url + path, "uploadMultipartUrls": None, "storagePath": path,
                    "artifact": {"id": one["artifactID"]}}  # fmt: skip
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def on_fetch_artifact_manifest(self, given):
        url = f"{self.url}/manifest/{given['id']}/wandb_manifest.json"
        return {"artifact": {"currentManifest": {"file": {"directUrl": url}}}}

    def on_get_artifact_membership_file_urls(self, given):
        place = f"{given['entity']}/{given['project']}/{given['collection']}"
        one = self.artifact(self.found(place, given["alias"])["id"])
        edges = [
            {"node": {"__typename": "File", "name": name, "directUrl": f"{self.url}/artifacts/{_hex(entry['digest'])}"}}
            for name, entry in self.entries(one).items()
            if "ref" not in entry
        ]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        membership = {"files": {"pageInfo": page, "edges": edges}}
        typename = self.collection(place)["__typename"]
        return {"project": {"artifactCollection": {"__typename": typename, "artifactMembership": membership}}}


def _hex(digest):
    return base64.b64decode(digest).hex()


def _place(one):
    return f"{one['entityName']}/{one['projectName']}/{one['artifactCollectionName']}"


def _project(entity, name):
    return {"__typename": "Project", "id": name, "name": name, "entityName": entity, "createdAt": _MADE,
            "isBenchmark": False, "user": None}  # fmt: skip
