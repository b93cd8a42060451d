CREATE TABLE customers (
    id integer PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    phone text NOT NULL,
    national_id text NOT NULL,
    card_number text,
    birthday date NOT NULL,
    country char(2) NOT NULL,
    tags text[] NOT NULL,
    profile jsonb NOT NULL,
    notes text,
    created_at timestamptz NOT NULL
);

CREATE TABLE products (
    id integer PRIMARY KEY,
    sku text NOT NULL UNIQUE,
    title text NOT NULL,
    price numeric(10, 2) NOT NULL
);

CREATE TABLE orders (
    id integer PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers,
    status text NOT NULL,
    total numeric(10, 2) NOT NULL,
    placed_at timestamptz NOT NULL
);

CREATE TABLE order_items (
    order_id integer NOT NULL REFERENCES orders,
    line integer NOT NULL,
    product_id integer NOT NULL REFERENCES products,
    quantity integer NOT NULL,
    PRIMARY KEY (order_id, line)
);

CREATE TABLE payments (
    id integer PRIMARY KEY,
    order_id integer NOT NULL REFERENCES orders,
    method text NOT NULL,
    iban text,
    amount numeric(10, 2) NOT NULL,
    paid_at timestamptz NOT NULL
);

CREATE TABLE api_keys (
    id integer PRIMARY KEY,
    owner text NOT NULL,
    secret text NOT NULL,
    created_at timestamptz NOT NULL
);
