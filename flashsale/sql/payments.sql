-- Payments: asked for by the fan, settled by the provider's signed webhook.

-- name: pending_payment
-- Only while the order can still be paid.
select p.payment from payments p join orders o using (order_id)
where p.order_id = $1 and p.state = 'pending' and o.state = 'confirmed' and o.pay_before_ms > $2;

-- name: create_payment
insert into payments (payment, order_id, amount_minor, currency)
select $1, order_id, price_minor, currency from orders
where order_id = $2 and fan = $3 and state = 'confirmed' and pay_before_ms > $4
on conflict do nothing
returning payment, order_id, amount_minor, currency;

-- name: payment
select p.payment, p.order_id, p.amount_minor, p.currency, p.state, o.fan
from payments p join orders o using (order_id) where p.payment = $1;

-- name: pay_order
update orders set state = 'paid', paid_at = now() where order_id = $1 and state = 'confirmed' returning order_id;

-- name: settle_payment
update payments set state = $2, settled_at = now() where payment = $1 and state = 'pending' returning payment;

-- name: lock_payment
select p.payment, p.order_id, p.amount_minor, p.currency, p.state from payments p where p.payment = $1 for update;
