CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX payments_order ON payments (order_id);

CREATE VIEW customer_orders AS
    SELECT c.id AS customer_id, c.name, c.country, o.id AS order_id, o.status, o.total, o.placed_at
    FROM customers c JOIN orders o ON o.customer_id = c.id;

CREATE VIEW revenue_by_country AS
    SELECT c.country, count(*) AS orders, sum(o.total) AS revenue
    FROM customers c JOIN orders o ON o.customer_id = c.id
    GROUP BY c.country;

CREATE FUNCTION archive_orders(before timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE removed bigint;
BEGIN
    UPDATE orders SET status = 'archived' WHERE placed_at < before;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END $$;

GRANT USAGE ON SCHEMA public TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;
ALTER TABLE customers OWNER TO app;
ALTER TABLE orders OWNER TO app;
ANALYZE;
