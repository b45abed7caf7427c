-- Both sides of the suite writer begin each round with empty tables, and with no checkpoint due.
truncate orders cascade;
drop table if exists bench_bare;
create table bench_bare (
    order_id    uuid primary key,
    sale        text not null,
    item        text not null,
    unit        int not null,
    fan         text not null,
    channel     text not null,
    lane        text not null,
    accepted_ms bigint not null
);
create unique index bench_bare_unit on bench_bare (sale, item, unit);
checkpoint;
