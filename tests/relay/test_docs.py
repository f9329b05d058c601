"""What the page on the relay shows beside shell commands, which run in the tests of the documentation."""

import argparse
import base64
import configparser
import json
import shlex

from airflow_provider_baseten.api.webhook import Delivery
from airflow_provider_baseten.cli.definition import GROUP
from airflow_provider_baseten.webhook.relay_queue import QueuedDelivery
from tests.docs_blocks.collect import blocks
from tests.relay.function_url import event
from tests.webhook.deliveries import body, signature

SHOWN = {block.language: block.text for block in blocks() if block.page == "relay.rst"}


def test_the_service_runs_a_command_that_exists():
    unit = configparser.ConfigParser()
    unit.read_string(SHOWN["ini"])
    program, group, name, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert (program.rpartition("/")[2], group) == ("airflow", "baseten")
    (command,) = (command for command in GROUP.subcommands if command.name == name)
    parser = argparse.ArgumentParser()
    for argument in command.args:
        argument.add_to_parser(parser)
    assert parser.parse_args(arguments).queue.startswith("s3://aws_default@")


def test_the_file_that_a_function_of_ones_own_writes(bucket, function):
    queued = QueuedDelivery.parse(SHOWN["json"].encode())
    assert Delivery.parse(queued.delivery.body).request_id == queued.delivery.request_id
    content = body("r1")
    function.handle(event("/baseten/webhooks/prod", content, {"X-BASETEN-SIGNATURE": signature(content)}), None)
    (key,) = bucket.keys()
    written = json.loads(bucket.read(key))
    assert written.keys() == json.loads(SHOWN["json"]).keys()
    assert base64.b64decode(written["body"]) == content
