-- How many orders each side of the suite writer has in its table.
select (select count(*) from orders) as orders, (select count(*) from bench_bare) as bare
