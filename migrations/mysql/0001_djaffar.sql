-- Our tables, in the types that Django gives such models on MySQL and MariaDB. {user_id} becomes the
-- type of the user table's key, {uuid} that of UUIDs: `uuid` on MariaDB from 10.7 on, else char(32).
-- There are no foreign keys: history outlives sessions and users.
CREATE TABLE IF NOT EXISTS `djaffar_activity` (
    `id` bigint AUTO_INCREMENT NOT NULL PRIMARY KEY,
    `user_id` {user_id} NULL,
    `session_id` varchar(40) NULL,
    `ip_address` varchar(45) NOT NULL,
    `date` datetime(6) NOT NULL,
    `path` varchar(2000) NOT NULL,
    `referer` varchar(2000) NOT NULL,
    `received_at` datetime(6) NULL,
    `event_id` {uuid} NULL,
    `name` varchar(100) NOT NULL,
    `properties` json NULL,
    UNIQUE INDEX `djaffar_activity_event_id` (`event_id`),
    INDEX `djaffar_activity_date` (`date`),
    INDEX `djaffar_activity_user` (`user_id`, `date`),
    INDEX `djaffar_activity_session` (`session_id`)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS `djaffar_sessioninfo` (
    `session_id` varchar(40) NOT NULL PRIMARY KEY,
    `user_agent` varchar(1000) NOT NULL,
    `visitor` varchar(40) NOT NULL,
    `browser` varchar(50) NULL,
    `os` varchar(50) NULL,
    `device` varchar(50) NULL,
    `bot` bool NULL,
    `country` varchar(2) NULL,
    `created_at` datetime(6) NULL
) ENGINE = InnoDB;

-- How far each segment of a spool is stored; written in the transaction of the rows.
CREATE TABLE IF NOT EXISTS `djaffar_spool_cursor` (
    `spool` {uuid} NOT NULL,
    `segment` {uuid} NOT NULL,
    `position` bigint NOT NULL,
    PRIMARY KEY (`spool`, `segment`)
) ENGINE = InnoDB;
