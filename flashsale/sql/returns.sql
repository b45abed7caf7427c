-- Units that came back and are held: free nowhere until ops release them.

-- name: held_units
select item, unit from returns
where sale = $1 and hold and given_back_at is not null and released_at is null order by item, unit;

-- name: lock_held
-- Oldest first. A unit that is in a live order all the same (a cache rolled back) is not one to sell again.
select r.order_id, r.unit from returns r
where r.sale = $1 and r.item = $2 and r.hold and r.given_back_at is not null and r.released_at is null
  and not exists (select from orders o where o.sale = r.sale and o.item = r.item and o.unit = r.unit
                  and o.state in ('confirmed', 'paid'))
order by r.created_at, r.unit limit $3 for update of r;

-- name: release_held
update returns set released_at = now() where order_id = any($1::uuid[]) and released_at is null;
