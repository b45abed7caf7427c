-- Whose presses have to solve a challenge first. docs/decisions/0025.
alter table sales add column challenged text not null default 'off' constraint sales_challenged_check
    check (challenged in ('off', 'suspicious', 'all'));
