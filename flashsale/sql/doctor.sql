-- What the doctor asks Postgres of itself.

-- name: settings
-- A setting that this account may not read comes as null; so does the folder of a server on another machine.
select split_part(current_setting('server_version'), ' ', 1) as version,
       current_setting('fsync') as fsync,
       current_setting('full_page_writes') as full_page_writes,
       current_setting('synchronous_commit') as synchronous_commit,
       current_setting('max_connections')::int as connections_max,
       (extract(epoch from clock_timestamp()) * 1000)::bigint as now_ms,
       case when inet_server_addr() is null
            then (select setting from pg_settings where name = 'data_directory') end as data_here;
