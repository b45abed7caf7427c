-- What Postgres makes impossible, whatever the code above it does: a unit in two live orders (there since step 1), a unit
-- beyond what was loaded, an order without its sale or item, a fan over the limit, a count of loaded units that falls.
-- Each refusal bears a name. Why triggers and no foreign key: docs/decisions/0018.

alter table orders drop constraint orders_state_check;
alter table orders add constraint orders_state_check
    check (state in ('confirmed', 'paid', 'expired', 'cancelled', 'refunded', 'refused'));

-- The digest of the attempt's key, so that a bucket that is rebuilt still knows "same key, same win". Orders from before
-- this step have none.
alter table orders add column key text not null default '' constraint orders_key check (length(key) in (0, 16));

-- A live order holds one of its fan's places, 1 to the sale's limit. Over the limit there is no place.
alter table orders add column place int not null default 1 constraint orders_place check (place > 0);
update orders o set place = n.nth
from (select order_id, row_number() over (partition by sale, fan order by accepted_ms, order_id) as nth
      from orders where state in ('confirmed', 'paid')) n
where o.order_id = n.order_id and n.nth > 1;
alter table orders add column live_place int
    generated always as (case when state in ('confirmed', 'paid') then place end) stored;
-- It begins with the fan, so that it also finds a fan's orders: one index does the work of two.
alter table orders add constraint orders_live_place unique (fan, sale, live_place);
drop index orders_of_fan;

-- The nth smallest place that a fan has free, or one beyond the limit, which is refused.
create function free_place(of_sale text, of_fan text, nth bigint, per_fan_limit int) returns int
language plpgsql stable as $$
begin
    return coalesce((
        select p from generate_series(1, per_fan_limit) as p
        where not exists (select from orders where fan = of_fan and sale = of_sale and live_place = p)
        order by p offset nth - 1 limit 1), per_fan_limit + 1);
end $$;

-- unit, place: the highest among the live orders of one item; null when none is live.
create function refuse_beyond_bounds(of_sale text, of_item text, unit int, place int) returns void
language plpgsql as $$
declare bound record;
begin
    -- Locked as a foreign key would, but once a statement: an item that has orders does not go away meanwhile.
    select i.loaded, s.per_fan_limit into bound from items i join sales s on s.sale = i.sale
    where i.sale = of_sale and i.item = of_item for key share of i;
    if not found then
        raise exception 'there is no item % of a sale %', of_item, of_sale
            using errcode = 'foreign_key_violation', constraint = 'orders_item', table = 'orders';
    elsif unit > bound.loaded then
        raise exception 'unit % of % in % was never loaded', unit, of_item, of_sale
            using errcode = 'check_violation', constraint = 'orders_unit_loaded', table = 'orders';
    elsif place > bound.per_fan_limit then
        raise exception 'a fan may have % orders in %', bound.per_fan_limit, of_sale
            using errcode = 'check_violation', constraint = 'orders_place_in_limit', table = 'orders';
    end if;
end $$;

create function orders_landed_in_bounds() returns trigger language plpgsql as $$
begin
    perform refuse_beyond_bounds(l.sale, l.item, l.unit, l.place)
    from (select sale, item, max(unit) filter (where live_place is not null) as unit, max(live_place) as place
          from landed group by sale, item) l;
    return null;
end $$;
create trigger orders_landed_in_bounds after insert on orders referencing new table as landed
    for each statement execute function orders_landed_in_bounds();

-- Paying and expiring change nothing that is bounded and don't come here.
create function orders_changed_in_bounds() returns trigger language plpgsql as $$
begin
    perform refuse_beyond_bounds(new.sale, new.item, case when new.live_place is not null then new.unit end, new.live_place);
    return null;
end $$;
create trigger orders_changed_in_bounds after update on orders for each row
    when (old.sale <> new.sale or old.item <> new.item or (new.live_place is not null
          and (old.live_place is null or old.unit <> new.unit or old.live_place <> new.live_place)))
    execute function orders_changed_in_bounds();

create function items_keep_their_orders() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and (new.sale, new.item) = (old.sale, old.item) then
        raise exception 'loaded units of % in % can''t become fewer', old.item, old.sale
            using errcode = 'check_violation', constraint = 'items_loaded_grows', table = 'items';
    elsif exists (select from orders where sale = old.sale and item = old.item) then
        raise exception 'there are orders of % in %', old.item, old.sale
            using errcode = 'foreign_key_violation', constraint = 'orders_item', table = 'items';
    end if;
    return case tg_op when 'DELETE' then old else new end;
end $$;
create trigger items_loaded_grows before update on items for each row
    when (new.loaded < old.loaded or new.sale <> old.sale or new.item <> old.item)
    execute function items_keep_their_orders();
create trigger items_with_orders before delete on items for each row execute function items_keep_their_orders();

create function sales_limit_holds() returns trigger language plpgsql as $$
begin
    if exists (select from orders where sale = new.sale and live_place > new.per_fan_limit) then
        raise exception 'fans of % hold more orders than %', new.sale, new.per_fan_limit
            using errcode = 'check_violation', constraint = 'sales_limit_holds', table = 'sales';
    end if;
    return new;
end $$;
create trigger sales_limit_holds before update of per_fan_limit on sales for each row
    when (new.per_fan_limit < old.per_fan_limit) execute function sales_limit_holds();
