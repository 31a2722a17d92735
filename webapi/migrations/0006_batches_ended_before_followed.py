"""Batches that had ended before anything followed a batch's end are not followed now.

Otherwise the first sweep after an upgrade would tell webhooks of batches of long ago and draw audits of them. Which these
are, the time when 0004 was applied says: what ended later is the sweeper's to follow, also where it has not come to it
yet, on a database that ran 0004 or 0005 for a while.
"""

from django.db import migrations
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Q
from django.db.models.functions import Coalesce, Now


def mark_followed(apps, schema_editor):
    using = schema_editor.connection.alias
    recorded = MigrationRecorder.Migration.objects.using(using)
    since = recorded.filter(app='webapi', name='0004_webhooks_and_what_follows_a_batch').first()
    before = Q(finished_at=None) | Q(finished_at__lt=since.applied) if since else Q()
    ended = apps.get_model('webapi', 'Batch').objects.using(using).filter(state__in=('done', 'cancelled'))
    ended.filter(before, followed_at=None).update(followed_at=Coalesce('finished_at', Now()))


class Migration(migrations.Migration):

    dependencies = [
        ('webapi', '0005_webhooks_of_vendors'),
    ]

    operations = [
        migrations.RunPython(mark_followed, migrations.RunPython.noop),
    ]
