"""A small program over the generated client: python client_test.py BASE_URL, with the client in PYTHONPATH."""

import json
import sys
import uuid

import httpx
from store_client.api.orders import batch_orders, create_orders, delete_orders, list_orders, patch_orders, put_orders
from store_client.api.orders import read_orders
from store_client.api.parts import create_parts
from store_client.api.persons import list_persons
from store_client.api.api import list_collections, read_collection, transaction
from store_client.client import Client
from store_client.models import orders, orders_batch, orders_sent, parts_sent, record_patch, transaction as several

client = Client(base_url=sys.argv[1])
name = f"a-{uuid.uuid4()}"


def expect(answer, status):
    assert answer.status_code == status, f"expected {status}, got {answer.status_code}: {answer.content.decode()}"
    return answer


# Create, read, and the same once more.
order = {"id": name, "tenant": "acme", "priority": 3, "number": name, "total": {"currency": "EUR", "cents": 995}}
created = expect(create_orders.sync_detailed(client=client, body=orders_sent.OrdersSent.from_dict(order)), 201)
assert created.headers["Location"] == f"/orders/{name}"
tag = created.headers["ETag"]
read = expect(read_orders.sync_detailed(name, client=client), 200)
assert read.parsed.id == name and read.parsed.total.cents == 995 and read.headers["ETag"] == tag
assert create_orders.sync(client=client, body=orders_sent.OrdersSent.from_dict(order)).to_dict() == read.parsed.to_dict()

# Problems are of one type, and known by it.
missing = expect(read_orders.sync_detailed("nobody", client=client), 404)
assert missing.parsed.type_ == "urn:leasehold:unknown-id"
wrong = orders_sent.OrdersSent.from_dict(order | {"id": "b", "priority": 10})
refused = expect(create_orders.sync_detailed(client=client, body=wrong), 400).parsed
assert (refused.type_, refused.pointer) == ("urn:leasehold:invalid-record", "/priority")

# Conditions.
other = orders.Orders.from_dict({"tenant": "acme", "priority": 4})
expect(put_orders.sync_detailed(name, client=client, body=other, if_match='"0"'), 412)
expect(put_orders.sync_detailed(name, client=client, body=other, if_match=tag), 200)
expect(put_orders.sync_detailed(name, client=client, body=other, if_none_match="*"), 412)
patch = record_patch.RecordPatch.from_dict({"priority": 5})
assert expect(patch_orders.sync_detailed(name, client=client, body=patch), 200).parsed.priority == 5

# Filters of the indexes, pages and counts.
def listed(**asked):
    return expect(list_orders.sync_detailed(client=client, where_tenant="acme", **asked), 200)


found = listed(where_priority_gte=5.0, sort="-priority", count=True, limit=1)
assert [one.id for one in found.parsed] == [name] and found.headers["Leasehold-Count"] == "1"
assert listed(where_priority_in=[6, 7]).parsed == []
unknown = expect(list_orders.sync_detailed(client=client, where_priority_gte=5.0), 400)
assert unknown.parsed.type_ == "urn:leasehold:no-index"

# Many at once.
batch = {"operations": [{"op": "patch", "id": name, "patch": {"priority": 6}}, {"op": "delete", "id": "nobody"}]}
expect(batch_orders.sync_detailed(client=client, body=orders_batch.OrdersBatch.from_dict(batch)), 409)
part = expect(create_parts.sync_detailed(client=client, body=parts_sent.PartsSent.from_dict({"name": "bolt"})), 201)
both = {"operations": [
    {"op": "check", "collection": "parts", "id": str(part.parsed.id), "ifMatch": "*"},
    {"op": "patch", "collection": "orders", "id": name, "patch": {"priority": 7}},
]}
done = expect(transaction.sync_detailed(client=client, body=several.Transaction.from_dict(both)), 200)
assert [one.status for one in done.parsed.results] == [200, 200]

# The collections.
names = [one.name for one in expect(list_collections.sync_detailed(client=client), 200).parsed]
assert names == ["locks-of-jobs", "orders", "parts", "persons"], names
assert expect(read_collection.sync_detailed("orders", client=client), 200).parsed.id == "string"
assert len(expect(list_persons.sync_detailed(client=client), 200).parsed) == 4

# Watches are streams: the document says what an event is, and the first is read by hand.
with httpx.stream("GET", f"{sys.argv[1]}/orders:watch?after=1", timeout=20) as stream:
    data = next(line for line in stream.iter_lines() if line.startswith("data:"))
    assert json.loads(data.removeprefix("data:"))["changes"][0]["change"] == "created"

expect(delete_orders.sync_detailed(name, client=client), 204)
expect(delete_orders.sync_detailed(name, client=client), 404)
print("the generated client creates, reads, lists, and understands what is refused")
