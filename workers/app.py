"""The Celery app: how "look at this job now" travels when a broker is set. Without one nothing here is used.

Messages carry a job's id and nothing else; the job's row is the truth. A message lost, doubled or late changes nothing:
the claim decides, and the sweeper publishes again what nobody took.
"""

from __future__ import annotations

import os

import django
from celery import Celery
from celery.signals import worker_ready, worker_shutdown
from django.conf import settings
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapi.settings")
django.setup()

QUEUES = ("default", "generation", "scoring", "training")
"""Cheap jobs; text generation; scoring and embedding; training (one at a time a machine)."""

PREFIX = settings.QUEUE_PREFIX
DEAD_LETTERS = f"{PREFIX}.dead"

app = Celery("gauntlet", broker=settings.BROKER_URL or "memory://", set_as_current=True)
_exchange = Exchange(PREFIX, type="topic")  # delayed delivery wants a topic


def _queue(name: str) -> Queue:
    # A message that kills its worker again and again is dropped to the dead letters instead of circling for ever.
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 10, "x-dead-letter-exchange": DEAD_LETTERS}
    return Queue(f"{PREFIX}.{name}", _exchange, routing_key=name, queue_arguments=arguments)


app.conf.update(
    task_queues=[_queue(name) for name in QUEUES],
    task_default_queue=f"{PREFIX}.default",
    task_default_exchange=PREFIX,
    task_default_routing_key="default",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_detect_quorum_queues=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": True, "max_retries": 3, "interval_start": 0, "interval_step": 0.5},
    worker_send_task_events=False,
    worker_enable_remote_control=False,  # the database says what runs where
)


@app.task(name="run_job")
def run_job(job_id: str) -> None:
    """Runs the job with this id, if it is still to be had."""
    from workers.execute import execute

    execute(job_id)


@worker_ready.connect
def _start_sweeping(**_: object) -> None:
    from workers.sweep import start_sweeper

    start_sweeper()


@worker_shutdown.connect
def _stop_sweeping(**_: object) -> None:
    from workers.sweep import stop_sweeper

    stop_sweeper()
