"""Does with a cluster what each line on standard input says, and answers each with a line of JSON."""

import json
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

SETTINGS = json.loads(sys.argv[1]) | {"log_level": 0}
PATIENCE = 30

producer = Producer(SETTINGS)


def cluster_brokers():
    """The brokers of the producer's cluster, which may be its own."""
    found = producer.list_topics(timeout=PATIENCE).brokers
    return [f"{broker.host}:{broker.port}" for _, broker in sorted(found.items())]


PLAIN = {"bootstrap.servers": ",".join(cluster_brokers()), "log_level": 0}
admin = AdminClient(PLAIN)
members = {}


def consumer(group):
    return Consumer(
        PLAIN
        | {
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
        }
    )


def create(topic, partitions):
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(PATIENCE)


def produce(topic, partition, messages):
    for _ in range(messages):
        producer.produce(topic, b"message", partition=partition)
        assert producer.flush(PATIENCE) == 0, "not delivered"


def join(group, topic):
    member = members[group] = consumer(group)
    member.subscribe([topic])
    end = time.monotonic() + PATIENCE
    held = []
    while not member.assignment():
        assert time.monotonic() < end, "no partitions were assigned"
        message = member.poll(0.1)
        if message is not None and not message.error():
            held.append(message)
    # What was fetched on the way is taken later.
    for message in held:
        member.seek(TopicPartition(message.topic(), message.partition(), message.offset()))


def take(group, messages):
    end = time.monotonic() + PATIENCE
    while messages > 0:
        assert time.monotonic() < end, f"{messages} did not come"
        message = members[group].poll(0.1)
        if message is not None and not message.error():
            members[group].commit(message, asynchronous=False)
            messages -= 1


def leave(group):
    members.pop(group).close()


def commit(group, topic, partition, offset):
    member = consumer(group)
    member.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
    member.close()


def topics():
    found = producer.list_topics(timeout=PATIENCE).topics
    return {name: len(topic.partitions) for name, topic in found.items()}


def everything():
    reader = consumer("nobody")
    ends = {
        f"{name}/{partition}": reader.get_watermark_offsets(TopicPartition(name, partition), timeout=PATIENCE)[1]
        for name, partitions in topics().items()
        for partition in range(partitions)
    }
    reader.close()
    groups = admin.list_consumer_groups(request_timeout=PATIENCE).result().valid
    return {"topics": topics(), "groups": sorted(group.group_id for group in groups), "ends": ends}


ORDERS = {order.__name__: order for order in (create, produce, join, take, leave, commit, topics, everything)}
ORDERS["brokers"] = cluster_brokers

for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer = {"done": ORDERS[name](*arguments)}
    except Exception as error:  # Told to the test, which fails with it.
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
