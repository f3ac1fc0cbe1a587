//! factum's store on MariaDB and MySQL.
