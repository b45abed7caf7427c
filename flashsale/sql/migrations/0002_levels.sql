-- The level that a win has reached when the fan is told of it.

alter table sales add column ack text not null default 'accepted'
    check (ack in ('accepted', 'replicated', 'fsynced', 'confirmed'));
