"""Sweeps and their runs, environments, hashes of an artifact's files, and promotions as rows.

A classifier that was promoted gets a row for the last time that it was; of a policy the last one serves.
"""

import django.db.models.deletion
import webapi.models.base
from django.conf import settings
from django.db import migrations, models

from webapi.models.base import first_id_at


def rows_of_promotions(apps, schema_editor):
    alias = schema_editor.connection.alias
    promotions = apps.get_model('webapi', 'Promotion').objects.using(alias)
    classifiers = apps.get_model('webapi', 'Classifier').objects.using(alias).exclude(promoted_at=None)
    serving = {}
    for row in classifiers.order_by('promoted_at', 'pk').iterator():
        # A key made of the time it happened: promotions are read in the order of their keys.
        key = first_id_at(row.promoted_at)
        while promotions.filter(pk=key).exists():
            key = type(key)(int=key.int + 1)
        made = promotions.create(pk=key, policy_id=row.policy_id, classifier_id=row.pk, serving=False)
        promotions.filter(pk=made.pk).update(created_at=row.promoted_at)
        serving[row.policy_id] = made.pk
    promotions.filter(pk__in=serving.values()).update(serving=True)


class Migration(migrations.Migration):

    dependencies = [
        ('webapi', '0011_snapshots'),
    ]

    operations = [
        migrations.CreateModel(
            name='TrainingRun',
            fields=[
                ('id', models.UUIDField(default=webapi.models.base.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('position', models.PositiveSmallIntegerField()),
                ('learning_rate', models.FloatField()),
                ('seed', models.PositiveIntegerField()),
                ('recipe', models.JSONField(default=dict)),
                ('state', models.CharField(choices=[('pending', 'Pending'), ('running', 'Running'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='pending', max_length=16)),
                ('error', models.TextField(blank=True)),
                ('curve', models.JSONField(blank=True, default=list)),
                ('metrics', models.JSONField(blank=True, default=dict)),
                ('fnr', models.FloatField(blank=True, null=True)),
                ('log_loss', models.FloatField(blank=True, null=True)),
                ('threshold', models.FloatField(blank=True, null=True)),
                ('environment', models.JSONField(blank=True, default=dict)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['sweep', 'position'],
                'abstract': False,
            },
        ),
        migrations.AddField(
            model_name='artifact',
            name='files',
            field=models.JSONField(blank=True, default=list),
        ),
        migrations.AddField(
            model_name='classifier',
            name='environment',
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.CreateModel(
            name='Promotion',
            fields=[
                ('id', models.UUIDField(default=webapi.models.base.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('serving', models.BooleanField(default=True)),
                ('note', models.CharField(blank=True, max_length=500)),
                ('rolled_back_at', models.DateTimeField(blank=True, null=True)),
                ('by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('classifier', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='promotions', to='webapi.classifier')),
                ('policy', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='promotions', to='webapi.policy')),
                ('rolled_back_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['id'],
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='Sweep',
            fields=[
                ('id', models.UUIDField(default=webapi.models.base.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('name', models.CharField(max_length=64)),
                ('config', models.JSONField(default=dict)),
                ('state', models.CharField(choices=[('pending', 'Pending'), ('running', 'Running'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_index=True, default='pending', max_length=16)),
                ('error', models.TextField(blank=True)),
                ('result', models.JSONField(blank=True, default=dict)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL)),
                ('mix', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='webapi.artifact')),
                ('policy', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='sweeps', to='webapi.policy')),
                ('round', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='sweeps', to='webapi.round')),
                ('snapshot', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='sweeps', to='webapi.datasetsnapshot')),
                ('swept_from', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='sweeps_from', to='webapi.classifier')),
            ],
            options={
                'ordering': ['id'],
                'abstract': False,
            },
        ),
        migrations.AddField(
            model_name='job',
            name='sweep',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='jobs', to='webapi.sweep'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(('sweep', None), _negated=True), fields=('sweep', 'kind', 'shard'), name='job_once_per_run_of_a_sweep'),
        ),
        migrations.AddField(
            model_name='trainingrun',
            name='artifact',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='webapi.artifact'),
        ),
        migrations.AddField(
            model_name='trainingrun',
            name='classifier',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='training_run', to='webapi.classifier'),
        ),
        migrations.AddField(
            model_name='trainingrun',
            name='sweep',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='runs', to='webapi.sweep'),
        ),
        migrations.AddField(
            model_name='sweep',
            name='picked',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='webapi.trainingrun'),
        ),
        migrations.AddConstraint(
            model_name='promotion',
            constraint=models.UniqueConstraint(condition=models.Q(('serving', True)), fields=('policy',), name='promotion_one_serves'),
        ),
        migrations.AddConstraint(
            model_name='promotion',
            constraint=models.CheckConstraint(condition=models.Q(('serving', False), ('rolled_back_at', None), _connector='OR'), name='promotion_rolled_back_does_not_serve'),
        ),
        migrations.AddConstraint(
            model_name='trainingrun',
            constraint=models.UniqueConstraint(fields=('sweep', 'position'), name='training_run_once'),
        ),
        migrations.AddConstraint(
            model_name='trainingrun',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state', 'succeeded'), _negated=True), ('fnr__isnull', False), _connector='OR'), name='training_run_is_measured'),
        ),
        migrations.AddConstraint(
            model_name='sweep',
            constraint=models.UniqueConstraint(fields=('round', 'name'), name='sweep_name_once_per_round'),
        ),
        migrations.RunPython(rows_of_promotions, migrations.RunPython.noop),
    ]
