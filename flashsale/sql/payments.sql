-- Payments: asked for by the fan, settled by the provider's signed webhooks; late ones, and money that goes back.

-- name: pending_payment
-- Only while the order can still be paid.
select p.payment from payments p join orders o using (order_id)
where p.order_id = $1 and p.state = 'pending' and o.state = 'confirmed' and o.pay_before_ms > $2;

-- name: create_payment
-- Not for an order that a late payment is about to pay: the fan would pay twice.
insert into payments (payment, order_id, amount_minor, currency)
select $1, order_id, price_minor, currency from orders o
where order_id = $2 and fan = $3 and state = 'confirmed' and pay_before_ms > $4
  and not exists (select from payments p where p.late_order = o.order_id and p.state = 'late')
on conflict do nothing
returning payment, order_id, amount_minor, currency;

-- name: payment
select p.payment, p.order_id, p.amount_minor, p.currency, p.state, o.fan
from payments p join orders o using (order_id) where p.payment = $1;

-- name: lock_payment
select payment, order_id, amount_minor, currency, state, late_order, paid_order from payments where payment = $1 for update;

-- name: pay_order
update orders set state = 'paid', paid_at = now() where order_id = $1 and state = 'confirmed' returning order_id;

-- name: state_of_order
select state from orders where order_id = $1;

-- name: payment_succeeded
update payments set state = 'succeeded', paid_order = $2, settled_at = now() where payment = $1;

-- name: payment_late
update payments set state = 'late', late_order = $2, late_at = now(), settled_at = now() where payment = $1;

-- name: payment_refund_due
update payments set state = 'refund_due', reason = $2, settled_at = coalesce(settled_at, now()) where payment = $1;

-- name: payment_refunded
update payments set state = 'refunded', refunded_at = now(), settled_at = coalesce(settled_at, now()) where payment = $1;

-- name: refund_order
-- The order that the payment had paid is over, and its unit comes back, in one statement.
with ended as (
    update orders set state = 'refunded', ended_at = now() where order_id = $1 and state = 'paid'
    returning order_id, sale, item, bucket, unit, fan
)
insert into returns (order_id, sale, item, bucket, unit, fan, reason, hold)
select e.order_id, e.sale, e.item, e.bucket, e.unit, e.fan, 'refunded', s.returned <> 'public'
from ended e join sales s using (sale)
returning order_id;

-- name: lock_payment_of_order
-- The payment whose money is in this order, or came for it and has paid no other.
select p.payment, p.order_id, p.amount_minor, p.currency, p.state, o.sale
from payments p join orders o using (order_id)
where p.paid_order = $1 or (p.order_id = $1 and p.paid_order is null and p.state <> 'pending')
order by p.paid_order is null, p.created_at desc limit 1 for update of p;

-- name: payments_of_sale
-- By the sale and, if one is given, the state; oldest first.
select p.payment, p.order_id, p.paid_order, p.amount_minor, p.currency, p.state, p.reason, o.fan, o.item,
       p.created_at, p.settled_at, p.refund_asked_at, p.refunded_at
from payments p join orders o using (order_id)
where o.sale = $1 and ($2::text is null or p.state = $2) order by p.created_at, p.payment;

-- name: refunds_to_ask
-- Asked again after a while, until the provider's webhook says that it is done.
select p.payment, p.order_id, p.amount_minor, p.currency, p.state from payments p
where p.state = 'refund_due' and (p.refund_asked_at is null or p.refund_asked_at < now() - make_interval(secs => $1))
order by p.refund_asked_at nulls first, p.created_at limit $2;

-- name: refund_asked
update payments set refund_asked_at = now() where payment = $1 and state = 'refund_due';

-- name: refunds_due
select o.sale, count(*) as due from payments p join orders o using (order_id) where p.state = 'refund_due' group by o.sale;

-- name: sales_with_late
select distinct o.sale from payments p join orders o using (order_id) where p.state = 'late';

-- name: late_waiting
-- landed: the state of the order that the money may pay, once it is in Postgres. aside: it could not be stored, for good.
-- returning: a unit of this fan is on its way back, so that the bucket still counts it against their limit; or their
-- order waits for another unit than it won.
select p.payment, p.late_order, o.fan, o.item, o.channel, l.state as landed,
       exists (select from set_aside a where a.order_id = p.late_order
               and a.state in ('refused', 'compensated', 'unreadable')) as aside,
       exists (select from returns r where r.sale = o.sale and r.fan = o.fan
               and r.given_back_at is null and r.refused_at is null)
       or exists (select from set_aside a where a.order_id = p.late_order and a.state = 'waiting') as returning,
       extract(epoch from now() - p.late_at)::float8 as waited_s
from payments p join orders o using (order_id) left join orders l on l.order_id = p.late_order
where p.state = 'late' and o.sale = $1 order by p.late_at limit $2;

-- name: end_late_strays
-- Orders that were won for a payment whose money has gone, or goes, back: nobody will pay them.
with ended as (
    update orders o set state = 'cancelled', ended_at = now() from payments p
    where o.lane = 'late' and o.state = 'confirmed' and p.late_order = o.order_id and p.state in ('refund_due', 'refunded')
    returning o.order_id, o.sale, o.item, o.bucket, o.unit, o.fan
)
insert into returns (order_id, sale, item, bucket, unit, fan, reason, hold)
select e.order_id, e.sale, e.item, e.bucket, e.unit, e.fan, 'cancelled', s.returned <> 'public'
from ended e join sales s using (sale)
returning order_id;

-- name: payments_by_item
select o.item, p.state, count(*) as payments, sum(p.amount_minor)::bigint as amount_minor
from payments p join orders o using (order_id) where o.sale = $1 group by o.item, p.state;
