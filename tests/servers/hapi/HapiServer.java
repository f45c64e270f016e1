// A real HAPI FHIR server (JPA, R4, everything in memory) for the tests, run by the JDK's source launcher:
//   java -cp CLASSPATH HapiServer.java PORT [DEFAULT_PAGE_SIZE [MAXIMUM_PAGE_SIZE [EXPANDS_HIERARCHIES [EXPORTS]]]]
// It serves http://127.0.0.1:PORT/fhir until SIGTERM or the end of its standard input.

import ca.uhn.fhir.batch2.api.IJobMaintenanceService;
import ca.uhn.fhir.batch2.jobs.config.BatchCommonCtx;
import ca.uhn.fhir.batch2.jobs.export.BulkDataExportProvider;
import ca.uhn.fhir.batch2.jobs.export.BulkExportAppCtx;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.config.HapiJpaConfig;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirH2Dialect;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.JpaSystemProvider;
import ca.uhn.fhir.jpa.provider.ValueSetOperationProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.search.HapiHSearchAnalysisConfigurers;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import jakarta.persistence.EntityManagerFactory;
import java.io.IOException;
import java.io.OutputStream;
import java.util.Map;
import javax.sql.DataSource;
import org.apache.commons.dbcp2.BasicDataSource;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.ApplicationContext;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;
import org.springframework.transaction.PlatformTransactionManager;

public class HapiServer {

    private static boolean expandsHierarchies;

    public static void main(String[] arguments) {
        try {
            int port = Integer.parseInt(arguments[0]);
            int defaultPageSize = arguments.length > 1 ? Integer.parseInt(arguments[1]) : 10;
            int maximumPageSize = arguments.length > 2 ? Integer.parseInt(arguments[2]) : 50;
            expandsHierarchies = arguments.length > 3 && Boolean.parseBoolean(arguments[3]);
            boolean exports = arguments.length > 4 && Boolean.parseBoolean(arguments[4]);
            // HAPI says so much at lower levels that it would not be up within minutes.
            System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
            // No jobs in the background: a test must be able to say what the server holds.
            System.setProperty("scheduling_disabled", "true");
            endWithStandardInput();
            serve(port, defaultPageSize, maximumPageSize, exports);
        } catch (Throwable failure) {
            failure.printStackTrace();
            // HAPI's thread pools are already running and would keep a server that serves nothing alive.
            Runtime.getRuntime().halt(1);
        }
    }

    /** A test run that is killed outright cannot send SIGTERM, but its end of the pipe closes all the same. */
    private static void endWithStandardInput() {
        Thread watch = new Thread(() -> {
            try {
                System.in.transferTo(OutputStream.nullOutputStream());
            } catch (IOException unreadable) {
                // Means the same as ended.
            }
            Runtime.getRuntime().halt(0);
        });
        watch.setDaemon(true);
        watch.start();
    }

    private static void serve(int port, int defaultPageSize, int maximumPageSize, boolean exports) throws Exception {
        Server jetty = new Server();
        ServerConnector connector = new ServerConnector(jetty);
        connector.setHost("127.0.0.1");
        connector.setPort(port);
        jetty.addConnector(connector);
        // Before the slow part: a taken port shows at once, and nobody can take this one meanwhile.
        connector.open();

        ApplicationContext hapi = exports
                ? new AnnotationConfigApplicationContext(Storage.class, Exports.class)
                : new AnnotationConfigApplicationContext(Storage.class);
        DatabaseBackedPagingProvider paging = hapi.getBean(DatabaseBackedPagingProvider.class);
        paging.setDefaultPageSize(defaultPageSize);
        paging.setMaximumPageSize(maximumPageSize);

        ServletContextHandler root = new ServletContextHandler("/");
        RestfulServer server = restfulServer(hapi, paging);
        if (exports) {
            server.registerProvider(hapi.getBean(BulkDataExportProvider.class));
            moveJobsOn(hapi.getBean(IJobMaintenanceService.class));
        }
        root.addServlet(new ServletHolder(server), "/fhir/*");
        jetty.setHandler(root);
        jetty.start();
    }

    /** HAPI's own scheduler is off, and would look at its jobs once a minute. */
    private static void moveJobsOn(IJobMaintenanceService jobs) {
        Thread mover = new Thread(() -> {
            while (true) {
                try {
                    Thread.sleep(300);
                    jobs.runMaintenancePass();
                } catch (InterruptedException over) {
                    return;
                } catch (RuntimeException failure) {
                    failure.printStackTrace();
                }
            }
        });
        mover.setDaemon(true);
        mover.start();
    }

    private static RestfulServer restfulServer(ApplicationContext hapi, DatabaseBackedPagingProvider paging) {
        RestfulServer server = new RestfulServer(hapi.getBean(FhirContext.class));
        server.setDefaultResponseEncoding(EncodingEnum.JSON);
        server.setPagingProvider(paging);
        server.registerProviders(hapi.getBean(ResourceProviderFactory.class).createProviders());
        server.registerProvider(hapi.getBean(JpaSystemProvider.class));
        server.registerProvider(hapi.getBean(ValueSetOperationProvider.class));
        server.setServerConformanceProvider(new JpaCapabilityStatementProvider(
                server,
                hapi.getBean(IFhirSystemDao.class),
                hapi.getBean(JpaStorageSettings.class),
                hapi.getBean(ISearchParamRegistry.class),
                hapi.getBean(IValidationSupport.class)));
        return server;
    }

    /** $export, of Bulk Data. */
    @Configuration(proxyBeanMethods = false)
    @Import(BulkExportAppCtx.class)
    static class Exports {

        @Bean
        BulkDataExportProvider bulkDataExportProvider() {
            return new BulkDataExportProvider();
        }
    }

    // No proxied bean methods: Spring could not subclass a class that exists only in the launcher's memory.
    @Configuration(proxyBeanMethods = false)
    @Import({JpaR4Config.class, HapiJpaConfig.class, JpaBatch2Config.class, BatchCommonCtx.class,
             SubscriptionChannelConfig.class, ThreadPoolFactoryConfig.class})
    static class Storage {

        @Bean
        JpaStorageSettings storageSettings() {
            JpaStorageSettings settings = new JpaStorageSettings();
            // A test reads what it has just written; the default answers the same search from a minute ago.
            settings.setReuseCachedSearchResultsForMillis(null);
            // Sandbox patients and test charts refer to what is not there, and choose ids such as "123".
            settings.setEnforceReferentialIntegrityOnWrite(false);
            settings.setAutoCreatePlaceholderReferenceTargets(true);
            settings.setAllowExternalReferences(true);
            settings.setResourceClientIdStrategy(JpaStorageSettings.ClientIdStrategyEnum.ANY);
            return settings;
        }

        @Bean
        PartitionSettings partitionSettings() {
            return new PartitionSettings();
        }

        @Bean
        DataSource dataSource() {
            BasicDataSource pool = new BasicDataSource();
            // H2 drops a database in memory with its last connection unless told to wait.
            pool.setUrl("jdbc:h2:mem:hapi;DB_CLOSE_DELAY=-1");
            // A search may hold one connection for the request and one for its background task.
            pool.setMaxTotal(32);
            return pool;
        }

        @Bean
        LocalContainerEntityManagerFactoryBean entityManagerFactory(
                ConfigurableListableBeanFactory beans, FhirContext fhir, JpaStorageSettings settings, DataSource dataSource) {
            LocalContainerEntityManagerFactoryBean factory =
                    HapiEntityManagerFactoryUtil.newEntityManagerFactory(beans, fhir, settings);
            factory.setPersistenceUnitName("hapi");
            factory.setDataSource(dataSource);
            // Only the expansion of hierarchies needs the index; without it HAPI starts and writes faster.
            factory.setJpaPropertyMap(Map.of(
                    "hibernate.dialect", HapiFhirH2Dialect.class.getName(),
                    "hibernate.hbm2ddl.auto", "update",
                    "hibernate.search.enabled", Boolean.toString(expandsHierarchies),
                    "hibernate.search.backend.type", "lucene",
                    "hibernate.search.backend.directory.type", "local-heap",
                    "hibernate.search.backend.lucene_version", "LATEST",
                    "hibernate.search.backend.analysis.configurer",
                    HapiHSearchAnalysisConfigurers.HapiLuceneAnalysisConfigurer.class.getName()));
            return factory;
        }

        @Bean
        PlatformTransactionManager transactionManager(EntityManagerFactory entityManagerFactory) {
            return new JpaTransactionManager(entityManagerFactory);
        }
    }
}
