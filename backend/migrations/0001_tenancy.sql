-- Groups, projects, operators, roles, sessions; and the two tools every later step uses.

-- Isolates a tenant table (C29): row-level security on and forced, one policy for everybody, a
-- read policy for the owner alone (the narrow SECURITY DEFINER functions below read through it),
-- and just the rights the application needs. "Append-only" is the absence of UPDATE and DELETE.
CREATE PROCEDURE isolate_tenant_table(t regclass, rights text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);
    EXECUTE format(
        'CREATE POLICY tenant ON %s'
        ' USING (group_id = NULLIF(current_setting(''app.group_id'', true), '''')::bigint)'
        ' WITH CHECK (group_id = NULLIF(current_setting(''app.group_id'', true), '''')::bigint)', t);
    EXECUTE format('CREATE POLICY owner_reads ON %s FOR SELECT TO %I USING (true)', t, current_user);
    EXECUTE format('GRANT %s ON %s TO shuidian_app', rights, t);
END $$;

-- Which group a code means. Not a tenant table: the application reaches it by functions only.
CREATE TABLE tenancy_directory (
    group_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE CHECK (code ~ '^[a-z0-9]{2,32}$')
);
CREATE FUNCTION tenancy_group_of_code(wanted text) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT group_id FROM tenancy_directory WHERE code = wanted';
CREATE FUNCTION tenancy_groups() RETURNS SETOF bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT group_id FROM tenancy_directory ORDER BY group_id';
REVOKE ALL ON FUNCTION tenancy_group_of_code(text), tenancy_groups() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_group_of_code(text), tenancy_groups() TO shuidian_app;

CREATE TABLE tenancy_group (
    group_id bigint PRIMARY KEY REFERENCES tenancy_directory,
    code text NOT NULL,
    name text NOT NULL CHECK (name <> ''),
    created_at timestamptz NOT NULL
);
CALL isolate_tenant_table('tenancy_group', 'SELECT');

CREATE TABLE tenancy_project (
    group_id bigint NOT NULL REFERENCES tenancy_group,
    id uuid NOT NULL,
    code text NOT NULL CHECK (code ~ '^[a-z0-9-]{2,32}$'),
    name text NOT NULL CHECK (name <> ''),
    kind text NOT NULL CHECK (kind IN ('SHOPS', 'DORMITORY', 'COMMUNITY')),
    time_zone text NOT NULL DEFAULT 'Asia/Shanghai',
    sweep_minutes smallint NOT NULL DEFAULT 30 CHECK (sweep_minutes BETWEEN 5 AND 1440),
    topup_min_fen integer NOT NULL DEFAULT 100 CHECK (topup_min_fen > 0),
    topup_max_fen integer NOT NULL DEFAULT 500000 CHECK (topup_max_fen >= topup_min_fen),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, code)
);
CALL isolate_tenant_table('tenancy_project', 'SELECT, INSERT, UPDATE');

CREATE TABLE tenancy_operator (
    group_id bigint NOT NULL REFERENCES tenancy_group,
    id uuid NOT NULL,
    login text NOT NULL CHECK (login ~ '^[a-z0-9._-]{2,32}$'),
    name text NOT NULL CHECK (name <> ''),
    password_hash text NOT NULL,
    disabled_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, login)
);
CALL isolate_tenant_table('tenancy_operator', 'SELECT, INSERT, UPDATE');

-- Failed tries by login, whether anybody has it or not: the throttle tells nobody which logins exist.
CREATE TABLE tenancy_login_try (
    group_id bigint NOT NULL REFERENCES tenancy_group,
    login text NOT NULL CHECK (length(login) BETWEEN 1 AND 64),
    failed smallint NOT NULL DEFAULT 0,
    since timestamptz NOT NULL,
    PRIMARY KEY (group_id, login)
);
CALL isolate_tenant_table('tenancy_login_try', 'SELECT, INSERT, UPDATE, DELETE');

CREATE TABLE tenancy_role (
    group_id bigint NOT NULL REFERENCES tenancy_group,
    id uuid NOT NULL,
    name text NOT NULL CHECK (name <> ''),
    permissions text[] NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, name)
);
CALL isolate_tenant_table('tenancy_role', 'SELECT, INSERT, UPDATE');

-- An operator holds a role in one project, or (project_id NULL) in the whole group: HQ.
CREATE TABLE tenancy_grant (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    operator_id uuid NOT NULL,
    role_id uuid NOT NULL,
    project_id uuid,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE NULLS NOT DISTINCT (group_id, operator_id, role_id, project_id),
    FOREIGN KEY (group_id, operator_id) REFERENCES tenancy_operator (group_id, id),
    FOREIGN KEY (group_id, role_id) REFERENCES tenancy_role (group_id, id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('tenancy_grant', 'SELECT, INSERT, DELETE');

CREATE TABLE tenancy_session (
    group_id bigint NOT NULL,
    token_digest bytea NOT NULL CHECK (length(token_digest) = 32),
    operator_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, token_digest),
    FOREIGN KEY (group_id, operator_id) REFERENCES tenancy_operator (group_id, id)
);
CALL isolate_tenant_table('tenancy_session', 'SELECT, INSERT, UPDATE, DELETE');

-- Credentials at outside providers, sealed (backend/kernel/secrets.py). One project's merchant
-- account, or one group's official account and SMS account (project_id NULL).
CREATE TABLE tenancy_credential (
    group_id bigint NOT NULL REFERENCES tenancy_group,
    id uuid NOT NULL,
    project_id uuid,
    kind text NOT NULL CHECK (kind IN ('WECHAT_PAY', 'WECHAT_OFFICIAL', 'ALIYUN_SMS')),
    key text NOT NULL CHECK (key <> ''),
    public jsonb NOT NULL DEFAULT '{}',
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE NULLS NOT DISTINCT (group_id, kind, key, project_id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('tenancy_credential', 'SELECT, INSERT, UPDATE');

-- A new group with its preset roles and its first administrator, in one statement. The platform
-- calls it as the owner role; the application has no right to.
-- roles: {"administrator": {"id": .., "permissions": [..]}, ..}; the operator gets `administrator`.
CREATE FUNCTION tenancy_add_group(
    new_code text, new_name text, operator uuid, operator_login text, hash text,
    roles jsonb, grant_id uuid, at timestamptz
) RETURNS bigint LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    new_id bigint;
BEGIN
    INSERT INTO tenancy_directory (code) VALUES (new_code) RETURNING group_id INTO new_id;
    PERFORM set_config('app.group_id', new_id::text, true);
    INSERT INTO tenancy_group (group_id, code, name, created_at)
        VALUES (new_id, new_code, new_name, at);
    INSERT INTO tenancy_role (group_id, id, name, permissions)
        SELECT new_id, (value ->> 'id')::uuid, key,
               ARRAY(SELECT jsonb_array_elements_text(value -> 'permissions'))
        FROM jsonb_each(roles);
    INSERT INTO tenancy_operator (group_id, id, login, name, password_hash, created_at)
        VALUES (new_id, operator, operator_login, operator_login, hash, at);
    INSERT INTO tenancy_grant (group_id, id, operator_id, role_id, created_at)
        VALUES (new_id, grant_id, operator, (roles #>> '{administrator,id}')::uuid, at);
    RETURN new_id;
END $$;
REVOKE ALL ON FUNCTION tenancy_add_group(text, text, uuid, text, text, jsonb, uuid, timestamptz)
    FROM PUBLIC;
