-- The rows of one world: secrets stand between at signs. Run again, it puts everything back.
set session_replication_role = replica;
truncate public.wages, public.halls, public.stalls, public.held, public.twins, public.twins_of, public.moved, public.shown_too, public.noted, public.guessed, public.customers, public.visits, public.coded, public.kinds, public.kinded, public.fixed, public.reckoned, public.priced, public.priced_too, public.parts, public.words_of, public.filled, public.indexed, public.ranged, public.payments, public.orders, public.scratch, public.badges, public.api_keys,
    public.events, public.logins, public.base, public.locks, public.doors, crm.customers, public."Odd Name", public.typed, public.audit, public.folk, public.parcels;
set session_replication_role = origin;
insert into public.customers (id, name, ssn, email, city, salary, born, profile, tags, picture, active, visits, notes) values
    (1, 'Ada', '@ssn1@', '@email1@', 'Oslo', @salary1@, '@born1@', '{"plan": "pro", "pin": "@pin1@", "deep": {"pin": "@pin2@"}}', '{@tag1@,@tag2@}', '@pic1@', true, 3, 'likes tea'),
    (2, 'Bob', '@ssn2@', '@email2@', 'Rome', @salary2@, '@born2@', '{"plan": "free", "pin": "@pin3@"}', '{@tag3@}', '@pic2@', true, 1, 'write to @note1@ soon'),
    (3, 'Cleo', '@ssn3@', '@email3@', 'Oslo', @salary3@, '@born3@', '{"plan": "free"}', null, null, false, 0, null),
    (4, 'Dan', '@ssn4@', '@email4@', 'Bern', @salary4@, '@born4@', null, '{@tag1@}', '@pic3@', true, 7, 'x'),
    (5, 'Eve', '@ssn5@', '@email5@', 'Rome', @salary5@, '@born5@', '{"pin": "@pin4@", "plan": "pro"}', '{}', null, true, 2, 'mail @note2@'),
    (6, 'Fay', null, null, null, null, null, null, null, null, false, 0, null);
insert into public.payments (id, customer_id, card_number, amount, state, paid) values
    (1, 1, '@card1@', 10.00, 'paid', '2024-03-01 10:00+00'), (2, 1, '@card2@', 20.50, 'new', null),
    (3, 2, '@card1@', 30.00, 'paid', '2024-03-02 11:00+00'), (4, 3, '@card3@', 5.25, 'void', null),
    (5, 4, '@card4@', 99.90, 'paid', '2024-04-01 09:30+00'), (6, 5, '@card3@', 12.00, 'new', null),
    (7, 5, null, 1.00, 'new', null);
insert into public.orders select n, 1 + n % 6, (array['pen', 'ink', 'pad', 'cap'])[1 + n % 4], n * 7.5,
    (array['new', 'sent', 'done'])[1 + n % 3], case when n % 5 = 0 then null else 'note ' || n end, date '2024-01-01' + n
    from generate_series(1, 40) n;
insert into public.scratch values (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);
insert into public.wages select id, name, salary from public.customers;
insert into public.badges values (1, '@ssn1@', 1), (2, '@ssn3@', 2), (3, null, 3);
insert into public.visits values (1, '@ssn1@', 1), (2, '@ssn4@', 2), (3, null, 3);
insert into public.kinds values ('PIN-KESTREL-9', 'a'), ('PIN-MERLIN-77', 'c'), ('4417-zander', 'z'), ('0158-ide', 'i');
insert into public.kinded values (1, '@pin1@'), (2, null);
insert into public.fixed values (1, '@pin1@');
insert into public.moved values (1, '@pin1@', 1, 0), (2, 'PIN-KESTREL-9', 2, 0), (3, '@pin2@', 4, 1);
insert into public.halls values (1), (2);
insert into public.stalls values (1, 1), (2, 2);
insert into public.held (id, stall, kind) values (1, '@stall1@', 1);
insert into public.twins values (1, '@pin1@'), (2, '@pin2@');
insert into public.twins_of select 1, pin from public.twins where id = @stall1@;
insert into public.shown_too values (1, 'a');
insert into public.noted values (1, 'a'), (2, 'a');
insert into public.guessed values (1, '@pin1@', 'a'), (2, '@pin2@', 'a');
insert into public.reckoned (id, pin) values (1, '@pin1@'), (2, '@pin2@');
insert into public.priced (id, pin, cost, n) values (1, '@pin1@', @big1@ % 1000000, 1);
insert into public.priced_too values (1, @big1@ % 1000000, 1);
insert into public.parts values (1, '@pin1@', 1), (2, 'PIN-KESTREL-9', 2);
insert into public.words_of values (1, '@pin1@'), (2, '@pin2@');
insert into public.ranged values (1, @big1@ % 1000000, 1);
insert into public.indexed values (1, 'Oslo', '@pin1@'), (2, 'Rome', '@pin2@');
insert into public.filled values (1, 1, '@pin1@'), (2, 2, '@pin2@');
insert into public.coded (id, pin, room) values (1, '@pin1@', 1), (2, '@pin2@', 2);
insert into public.api_keys values (1, 'ci', '@key1@', '@pic1@', '{@tag1@}'), (2, 'ops', '@key2@', '@pic2@', '{read}');
insert into public.events values (1, '2024-05-05', 'login', '@token1@'), (2, '2024-06-06', 'logout', '@token2@'), (3, '2025-05-05', 'login', '@token3@');
insert into public.logins values (1, '@token1@'), (2, '@token2@'), (3, '@token3@');
insert into public.base values (1, '@pin1@');
insert into public.safes values (1, '@pin1@'), (2, '@pin2@');
insert into public.doors values (1, '@pin1@'), (2, '@pin2@');
insert into public.heir values (2, '@pin2@', 'h');
insert into public.grandheir values (3, '@pin3@', 'g', 'm');
insert into crm.customers values (1, '@ssn1@', 'Ada L'), (2, '@ssn2@', 'Bob M');
insert into public."Odd Name" values (1, '@key1@', '@ssn4@'), (2, '@key2@', '@ssn5@');
insert into public.typed values (1, row('Ada', '@ssn1@'), '@pin1@', '@host1@', '@uuid1@', '@at1@', @big1@, @float1@, '{"pin": "@pin2@"}'),
    (2, row('Bob', '@ssn2@'), '@pin2@', '@host2@', '@uuid2@', '@at2@', @big2@, @float2@, '{"pin": "@pin3@"}');
insert into public.audit values (1, 'set ssn @ssn1@'), (2, 'set ssn @ssn2@');
insert into public.folk values
    (1, 'Gus', '@fborn1@', @income1@, '@fhost1@', '@nick1@', '@phone1@', '{"email": "@fmail1@", "plan": "pro", "contact": {"phone": "@fphone1@", "city": "Oslo"}}', '{"email": "@fmail2@", "n": 1}', '@fseen1@', @score1@, '{@pin1@,@pin2@}'),
    (2, 'Hal', '@fborn2@', @income2@, '@fhost2@', '@nick2@', '@phone2@', '[{"email": "@fmail2@"}, {"contact": [{"phone": "@fphone2@"}]}]', '{"email": null, "n": 2}', '@fseen2@', @score2@, null),
    (3, 'Ivy', '1999-09-09', null, null, null, null, null, null, null, null, null);
insert into public.elders values (4, 'Jo', '@fborn1@', @income2@, '@fhost1@', '@nick2@', '@phone1@', '{"email": "@fmail1@"}', null, '@fseen1@', @score1@, '{}', default, 'dame');
insert into public.wards values (1, 'Kit', '@ssn1@', @salary1@, '@pin1@'), (2, 'Lee', '@ssn2@', @salary2@, '@pin2@');
insert into public."Odd.*{Ward}" values (1, '@pin3@');
insert into public.parcels values (1, '@nick1@', 'Kim'), (2, '@nick2@', 'Lou');
select setval('public.counter', 1, false);
refresh materialized view public.kept;
refresh materialized view public.totals;
analyze;
