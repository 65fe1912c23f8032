-- Many payment channels: who brought the money, how, and by which merchant account of the project.

ALTER TABLE tenancy_credential DROP CONSTRAINT tenancy_credential_kind_check;
ALTER TABLE tenancy_credential ADD CONSTRAINT tenancy_credential_kind_check CHECK (kind IN (
    'WECHAT_PAY', 'ALIPAY', 'UNIONPAY', 'CHINAPAY', 'WECHAT_OFFICIAL', 'ALIYUN_SMS'));

ALTER TABLE topups_order DROP CONSTRAINT topups_order_channel_check;
ALTER TABLE topups_order ADD CONSTRAINT topups_order_channel_check CHECK (channel IN (
    'WECHAT_PAY', 'ALIPAY', 'UNIONPAY', 'CHINAPAY', 'CASH', 'CARD'));
ALTER TABLE topups_order DROP CONSTRAINT topups_order_method_check;
ALTER TABLE topups_order ADD CONSTRAINT topups_order_method_check CHECK (method IN (
    'JSAPI', 'H5', 'NATIVE', 'WAP', 'PAGE', 'COUNTER'));

-- Cash and card slips are taken at a counter (收费台) and pass through no merchant account.
ALTER TABLE topups_order ALTER COLUMN credential_id DROP NOT NULL;
ALTER TABLE topups_order ADD CONSTRAINT topups_order_at_counter CHECK (
    (channel IN ('CASH', 'CARD')) = (credential_id IS NULL)
    AND (channel IN ('CASH', 'CARD')) = (method = 'COUNTER'));
