-- Money that goes back, payments that come late, and units that are held when they come back.

alter table sales add column returned text not null default 'public' check (returned in ('public', 'hold', 'waitlist'));

alter table orders drop constraint orders_state_check;
alter table orders add constraint orders_state_check
    check (state in ('confirmed', 'paid', 'expired', 'cancelled', 'refunded'));

alter table returns drop constraint returns_reason_check;
alter table returns add constraint returns_reason_check check (reason in ('expired', 'cancelled', 'refunded'));

-- hold: decided where the order ends, so that a repeated give-back can't decide otherwise. A held unit is one that was
-- given back by its bucket and is free nowhere; released: it went on sale again as a stock load of its own.
alter table returns add column hold boolean not null default false;
alter table returns add column released_at timestamptz;
create index returns_held on returns (sale, item, unit) where hold and given_back_at is not null and released_at is null;

-- order_id: what the payment was asked for. paid_order: what its money has paid, which is another order for one that
-- came late. late_order: the order that a late payment may come to pay; its id is made from the payment's.
alter table payments drop constraint payments_state_check;
alter table payments add constraint payments_state_check
    check (state in ('pending', 'late', 'succeeded', 'refund_due', 'refunded'));
alter table payments add column paid_order uuid references orders;
alter table payments add column late_order uuid;
alter table payments add column late_at timestamptz;
alter table payments add column reason text;
alter table payments add column refund_asked_at timestamptz;
alter table payments add column refunded_at timestamptz;
update payments set paid_order = order_id where state = 'succeeded';
update payments set reason = 'the order was over' where state = 'refund_due';
alter table payments add constraint payments_paid_something check (state <> 'succeeded' or paid_order is not null);
alter table payments add constraint payments_late_order check (state <> 'late' or (late_order is not null and late_at is not null));

-- An order is paid by one payment, and a payment has one late order.
create unique index payments_that_paid on payments (paid_order) where paid_order is not null;
create unique index payments_late_orders on payments (late_order) where late_order is not null;
create index orders_late on orders (order_id) where lane = 'late' and state = 'confirmed';
create index payments_by_order on payments (order_id);
create index payments_late on payments (late_at) where state = 'late';
create index payments_due on payments (refund_asked_at) where state = 'refund_due';
