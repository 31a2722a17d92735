"""Dataset snapshots with a hash, a policy and a split of their own; what derives from a snippet stays in its split.

Snapshots of before keep their file and have no content hash. The triggers stand in `webapi.triggers`, as they are
today: they are made again after every `migrate` anyway.
"""

import django.db.models.deletion
from django.db import migrations, models

from webapi.triggers import drop_triggers, make_triggers


def policies_of_rounds(apps, schema_editor):
    snapshots = apps.get_model('webapi', 'DatasetSnapshot').objects.using(schema_editor.connection.alias)
    rounds = apps.get_model('webapi', 'Round').objects.using(schema_editor.connection.alias)
    for round_ in rounds.filter(snapshots__policy=None, snapshots__isnull=False).distinct():
        snapshots.filter(round=round_.pk).update(policy=round_.policy_id, seed=round_.seed)


def make(apps, schema_editor):
    make_triggers(schema_editor.connection)


def drop(apps, schema_editor):
    drop_triggers(schema_editor.connection)


class Migration(migrations.Migration):

    dependencies = [
        ('webapi', '0010_rounds_that_had_one_attack'),
    ]

    operations = [
        migrations.AddField(
            model_name='datasetsnapshot',
            name='policy',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='snapshots', to='webapi.policy'),
        ),
        migrations.AddField(
            model_name='datasetsnapshot',
            name='content_hash',
            field=models.CharField(blank=True, db_index=True, default='', max_length=64),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='datasetsnapshot',
            name='split',
            field=models.CharField(choices=[('train', 'Train'), ('validation', 'Validation'), ('test', 'Test')], default='train', max_length=16),
        ),
        migrations.AddField(
            model_name='datasetsnapshot',
            name='trains',
            field=models.BooleanField(default=True),
        ),
        migrations.AddField(
            model_name='datasetsnapshot',
            name='seed',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='datasetsnapshot',
            name='equal_size',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='datasetsnapshot',
            name='datasets',
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddField(
            model_name='datasetsnapshot',
            name='settings',
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddField(
            model_name='datasetsnapshot',
            name='dropped',
            field=models.JSONField(blank=True, default=list),
        ),
        migrations.RunPython(policies_of_rounds, migrations.RunPython.noop),
        migrations.AlterField(
            model_name='datasetsnapshot',
            name='policy',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='snapshots', to='webapi.policy'),
        ),
        migrations.AlterField(
            model_name='datasetsnapshot',
            name='round',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='snapshots', to='webapi.round'),
        ),
        migrations.AddConstraint(
            model_name='datasetsnapshot',
            constraint=models.UniqueConstraint(condition=models.Q(('round', None), models.Q(('content_hash', ''), _negated=True)), fields=('policy', 'condition', 'content_hash'), name='snapshot_once_without_round'),
        ),
        migrations.AddConstraint(
            model_name='datasetsnapshot',
            constraint=models.CheckConstraint(condition=models.Q(('trains', False), ('split', 'train'), _connector='OR'), name='snapshot_trains_on_the_training_split'),
        ),
        migrations.RunPython(make, drop),
    ]
